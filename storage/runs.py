"""The MLflow runs of one experiment: found by their tags, read, and brought level one by one.

Knows what a run shows and writes the difference only; what a run stands for is `tracking`'s matter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_PAGE = 1000
_BATCH = 900
_VALUE_LENGTH = 5000
_ENDED = ("FINISHED", "KILLED", "FAILED")


@dataclass
class Shown:
    """What MLflow shows of a run.

    Attributes
    ----------
    is_whole
        It has ended, which is written last: its metrics are there, and were not read.
    """

    run_id: str
    status: str
    params: set[str] = field(default_factory=set)
    metrics: dict[tuple[str, int], float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False


class Runs:
    """Runs of an experiment. Every method raises what MLflow raises."""

    def __init__(self, client: "MlflowClient", experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    def search(self, condition: str) -> "Iterator[Run]":
        """Yield the runs that meet `condition`, all pages of them, oldest first."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def create(self, name: str, started: datetime | None, tags: Mapping[str, str]) -> Shown:
        """Make a run."""
        run = self.client.create_run(
            self.experiment_id, start_time=_millis(started), run_name=name, tags=dict(tags)
        )
        return Shown(run.info.run_id, "RUNNING", tags=dict(tags))

    def read(self, run: "Run", *, thoroughly: bool = True) -> Shown:
        """Read what a run shows; a search gives each metric's last point, the rest is fetched.

        Parameters
        ----------
        thoroughly
            Also of a run that has ended: a request for each of its metrics.
        """
        points: dict[tuple[str, int], float] = {}
        is_whole = not thoroughly and run.info.status in _ENDED
        for name in () if is_whole else run.data.metrics:
            history: list[Metric] = self.client.get_metric_history(run.info.run_id, name)
            history.sort(key=lambda point: point.timestamp)
            points |= {(name, point.step): point.value for point in history}
        return Shown(
            run_id=run.info.run_id,
            status=run.info.status,
            params=set(run.data.params),
            metrics=points,
            tags=dict(run.data.tags),
            is_whole=is_whole,
        )

    def write(
        self,
        shown: Shown,
        metrics: Mapping[tuple[str, int], float],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        time: datetime,
    ) -> bool:
        """Add what a run does not show yet; return whether there was anything.

        Parameters
        ----------
        metrics
            Values by name and step.
        time
            When the metrics were measured.
        """
        from mlflow.entities import Metric, Param, RunTag

        points = [
            Metric(name, value, _millis(time), step)
            for (name, step), value in metrics.items()
            if not shown.is_whole and shown.metrics.get((name, step)) != value
        ]
        new_params = [
            Param(k, v[:_VALUE_LENGTH]) for k, v in params.items() if k not in shown.params
        ]
        cut = {key: value[:_VALUE_LENGTH] for key, value in tags.items()}
        new_tags = [RunTag(k, v) for k, v in cut.items() if shown.tags.get(k) != v]
        if not (points or new_params or new_tags):
            return False
        for start in range(0, max(len(points), 1), _BATCH):
            batch = points[start : start + _BATCH]
            self.client.log_batch(shown.run_id, batch, new_params, new_tags)
            new_params, new_tags = [], []
        shown.metrics |= metrics
        shown.params |= set(params)
        shown.tags |= cut
        return True

    def set_status(self, shown: Shown, status: str, ended: datetime | None) -> bool:
        """Give a run its status; return whether it had another."""
        if shown.status == status:
            return False
        if status in {"RUNNING", "SCHEDULED"}:
            self.client.update_run(shown.run_id, status)
        else:
            self.client.set_terminated(shown.run_id, status, _millis(ended))
        shown.status = status
        return True

    def delete(self, run: "Run") -> None:
        """Delete a run, as the UI does: it can be restored there."""
        self.client.delete_run(run.info.run_id)


def _millis(time: datetime | None) -> Any:
    return None if time is None else int(time.timestamp() * 1000)
