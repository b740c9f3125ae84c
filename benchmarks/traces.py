"""The trace of a peer's search: its trials, stored as JSON. Uses the standard library only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# The environment variable by which a peer learns when its process was started (Unix seconds).
BEGAN = "BENCHMARK_BEGAN"


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Attributes
    ----------
    seconds
        When its score was there, since the process began.
    score
        A loss; ``None`` for a trial that the peer would not name as its best (a pruned one).
    rung
        A score of a higher rung beats any of a lower one (successive halving).
    grow_seconds
        Spent in fitting and scoring its forests, summed over folds.
    """

    seconds: float
    score: float | None
    params: Mapping[str, Any]
    rung: int = 0
    grow_seconds: float | None = None


@dataclass(frozen=True)
class Trace:
    """A search.

    Attributes
    ----------
    start_up
        Seconds from the start of the process to the start of its first trial.
    growing
        Seconds spent in fitting and scoring forests, over all cores; ``None`` where unknown.
    """

    start_up: float
    trials: list[Trial]
    best_params: Mapping[str, Any]
    growing: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """Seconds from the start of the process to the end of the last trial."""
        return max(trial.seconds for trial in self.trials)

    def write(self, path: Path) -> None:
        """Write it as JSON; numpy's numbers become Python's."""
        path.write_text(json.dumps(asdict(self), default=lambda value: value.item()))


def unix_time(moment: datetime) -> float:
    """Unix time of one of Optuna's times, which are in UTC without saying so."""
    return moment.replace(tzinfo=UTC).timestamp()


def read_trace(path: Path) -> Trace:
    """Read what `Trace.write` wrote."""
    record = json.loads(path.read_text())
    return Trace(**record | {"trials": [Trial(**trial) for trial in record["trials"]]})


def incumbents(trace: Trace, wall: float) -> list[Trial]:
    """Return the trials that were the best so far when they ended, in the order of time.

    Where the peer names another configuration in the end, that one follows at `wall` seconds.
    """
    found: list[Trial] = []
    best = (1, 0.0)
    ended = [(t.seconds, (-t.rung, t.score), t) for t in trace.trials if t.score is not None]
    for _seconds, rank, trial in sorted(ended, key=lambda entry: entry[:2]):
        if rank < best:
            best = rank
            found.append(trial)
    if not found or dict(found[-1].params) != dict(trace.best_params):
        found.append(Trial(wall, None, trace.best_params))
    return found
