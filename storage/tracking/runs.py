"""The MLflow runs of one experiment: find them by their tags, read them and update them.

This module compares a run with the values to write and writes only the difference. The `mirror`
module decides what a run represents.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from itertools import zip_longest
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from storage.tracking.client import pages

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Run, RunInfo

# Maximum number of metric points, and of params and of tags, in one request. MLflow allows 1000
# points, 100 params and 100 tags.
_MAX_POINTS, _MAX_PARAMS = 900, 100
_VALUE_LENGTH = 5000
_KEY_LENGTH = 250
_DIGEST_LENGTH = 8
# MLflow's databases store infinity as the largest float.
_GREATEST = 1.7976931348623157e308
_ENDED = ("FINISHED", "KILLED", "FAILED")
_ACTIVE = "active"
# Maximum number of experiments that one request searches.
_MAX_EXPERIMENTS = 500
_ORDER = ("attributes.start_time ASC", "attributes.run_id ASC")


@dataclass
class Shown:
    """The part of a run that MLflow shows.

    Attributes
    ----------
    is_whole
        The run has ended. Its end is written last, so its metrics are complete and were not read.
    """

    run_id: str
    status: str
    params: set[str] = field(default_factory=set)
    metrics: dict[tuple[str, int], float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False


class Runs:
    """Runs of an experiment. Every method raises the errors of MLflow.

    Parameters
    ----------
    page_size
        Number of runs that a request returns.
    """

    def __init__(
        self, client: "MlflowClient", experiment_id: str, *, page_size: int = 1000
    ) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self._page_size = page_size

    def search(self, condition: str) -> "Iterator[Run]":
        """Return the runs that meet `condition`, oldest first; pages are requested lazily."""
        return pages(
            lambda token: self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=self._page_size,
                order_by=list(_ORDER),
                page_token=token,
            )
        )

    def create(self, name: str, started: datetime | None, tags: Mapping[str, str]) -> Shown:
        """Create a run."""
        run = self.client.create_run(
            self.experiment_id, start_time=_millis(started), run_name=name, tags=dict(tags)
        )
        return Shown(run.info.run_id, "RUNNING", tags=dict(tags))

    def read(self, run: "Run", *, thoroughly: bool = True) -> Shown:
        """Read what a run shows. A search returns only the last point of each metric.

        Parameters
        ----------
        thoroughly
            Also read the metrics of a run that has ended, with one request for each metric.
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
        """Write the values that a run does not show yet; return whether there were any.

        Parameters
        ----------
        metrics
            Values by name and step.
        time
            Time at which the metrics were measured.
        """
        from mlflow.entities import Metric, Param, RunTag

        metrics = {(key_of(name), step): _kept(value) for (name, step), value in metrics.items()}
        params = {key_of(name): value[:_VALUE_LENGTH] for name, value in params.items()}
        tags = {key_of(name): value[:_VALUE_LENGTH] for name, value in tags.items()}
        points = [
            Metric(name, value, _millis(time), step)
            for (name, step), value in metrics.items()
            if not shown.is_whole and not _same(shown.metrics.get((name, step)), value)
        ]
        new_params = [Param(k, v) for k, v in params.items() if k not in shown.params]
        new_tags = [RunTag(k, v) for k, v in tags.items() if shown.tags.get(k) != v]
        for some_points, some_params, some_tags in zip_longest(
            _parts(points, _MAX_POINTS),
            _parts(new_params, _MAX_PARAMS),
            _parts(new_tags, _MAX_PARAMS),
            fillvalue=(),
        ):
            self.client.log_batch(shown.run_id, some_points, some_params, some_tags)
        shown.metrics |= metrics
        shown.params |= set(params)
        shown.tags |= tags
        return bool(points or new_params or new_tags)

    def set_status(self, shown: Shown, status: str, ended: datetime | None) -> bool:
        """Set the status of a run; return whether it changed."""
        if shown.status == status:
            return False
        if status in {"RUNNING", "SCHEDULED"}:
            self.client.update_run(shown.run_id, status)
        else:
            self.client.set_terminated(shown.run_id, status, _millis(ended))
        shown.status = status
        return True

    def delete(self, run: "Run") -> None:
        """Delete a run as the UI does; a user can restore it there."""
        self.client.delete_run(run.info.run_id)


def search_everywhere(client: "MlflowClient", condition: str) -> "list[Run]":
    """Return the runs in all experiments that meet `condition`, also deleted ones.

    Active runs are first; among them, and among the deleted ones, the oldest is first.
    """
    from mlflow.entities import ViewType

    def experiments(token: str | None) -> Any:
        return client.search_experiments(ViewType.ALL, page_token=token)

    ids = [experiment.experiment_id for experiment in pages(experiments)]
    found: list[Run] = []
    for part in _parts(ids, _MAX_EXPERIMENTS):

        def runs(token: str | None, part: Sequence[str] = part) -> Any:
            return client.search_runs(
                list(part), condition, ViewType.ALL, order_by=list(_ORDER), page_token=token
            )

        found += pages(runs)
    return sorted(found, key=lambda run: not is_active(run.info))


def is_active(entity: "RunInfo | Experiment") -> bool:
    """Whether a run or an experiment is not deleted."""
    return str(entity.lifecycle_stage) == _ACTIVE


@lru_cache(maxsize=10_000)
def key_of(name: str) -> str:
    """Return the key under which MLflow stores a metric, param or tag of this name.

    MLflow rejects some names. The characters that it rejects are replaced by underscores, and a
    digest is appended so that different names have different keys.
    """
    key = re.sub(r"[^\w.\- :/]", "_", name)
    if not key or normpath(key) != key or key.startswith(("/", ".")):  # MLflow may use it as a path
        key = "_" + key.replace("/", "_")
    if key == name and len(key) <= _KEY_LENGTH:
        return key
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{key[: _KEY_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"


def _kept(value: float) -> float:
    """Return a metric's value as MLflow's databases return it."""
    return max(-_GREATEST, min(value, _GREATEST)) if math.isinf(value) else value


def _same(shown: float | None, value: float) -> bool:
    return shown == value or (shown is not None and math.isnan(shown) and math.isnan(value))


def _parts(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _millis(time: datetime | None) -> Any:
    return None if time is None else int(time.timestamp() * 1000)
