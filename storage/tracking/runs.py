"""The MLflow runs of one experiment: found by their tags, read, and brought level one by one.

Knows what a run shows and writes the difference only; what a run stands for is `tracking`'s matter.
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
    from mlflow.entities import Metric, Run

_PAGE = 1000
# What one request may hold: points, params, tags.
_POINTS, _WORDS = 900, 100
_VALUE_LENGTH = 5000
_KEY_LENGTH = 250
_DIGEST_LENGTH = 8
# Stands for infinity in MLflow's databases.
_GREATEST = 1.7976931348623157e308
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
        """Return the runs that meet `condition`, oldest first; asked for as they are looked at."""
        return pages(
            lambda token: self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
        )

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
            _parts(points, _POINTS),
            _parts(new_params, _WORDS),
            _parts(new_tags, _WORDS),
            fillvalue=(),
        ):
            self.client.log_batch(shown.run_id, some_points, some_params, some_tags)
        shown.metrics |= metrics
        shown.params |= set(params)
        shown.tags |= tags
        return bool(points or new_params or new_tags)

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


@lru_cache(maxsize=10_000)
def key_of(name: str) -> str:
    """Return the key under which MLflow keeps what has this name.

    MLflow does not take every name: of another what is good in it is kept, with a digest behind, so
    that no two names have one key.
    """
    key = re.sub(r"[^\w.\- :/]", "_", name)
    if not key or normpath(key) != key or key.startswith(("/", ".")):  # it may become a path
        key = "_" + key.replace("/", "_")
    if key == name and len(key) <= _KEY_LENGTH:
        return key
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{key[: _KEY_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"


def _kept(value: float) -> float:
    """Return a metric's value as MLflow's databases give it back."""
    return max(-_GREATEST, min(value, _GREATEST)) if math.isinf(value) else value


def _same(shown: float | None, value: float) -> bool:
    return shown == value or (shown is not None and math.isnan(shown) and math.isnan(value))


def _parts(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _millis(time: datetime | None) -> Any:
    return None if time is None else int(time.timestamp() * 1000)
