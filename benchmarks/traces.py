"""The trace of a peer's search: its trials, stored as JSON. Uses the standard library only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Environment variable with the start time of the peer's process (Unix seconds).
BEGAN = "BENCHMARK_BEGAN"


@dataclass(frozen=True)
class Trial:
    """One configuration that a peer tried.

    Attributes
    ----------
    seconds
        Time of its score, since the start of the process.
    score
        Loss; ``None`` for a trial that cannot be the best, such as a pruned one.
    rung
        A score at a higher rung beats any score at a lower rung (successive halving).
    grow_seconds
        Time to fit and score its forests, summed over folds.
    """

    seconds: float
    score: float | None
    params: Mapping[str, Any]
    rung: int = 0
    grow_seconds: float | None = None


@dataclass(frozen=True)
class Trace:
    """The trace of a search.

    Attributes
    ----------
    start_up
        Seconds from the start of the process to the start of its first trial.
    growing
        Seconds spent fitting and scoring forests, over all cores; ``None`` if unknown.
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
        """Write the trace as JSON; numpy numbers become Python numbers."""
        path.write_text(json.dumps(asdict(self), default=lambda value: value.item()))


def unix_time(moment: datetime) -> float:
    """Convert a datetime of Optuna, which is naive UTC, to Unix time."""
    return moment.replace(tzinfo=UTC).timestamp()


def read_trace(path: Path) -> Trace:
    """Read a trace written by `Trace.write`."""
    record = json.loads(path.read_text())
    return Trace(**record | {"trials": [Trial(**trial) for trial in record["trials"]]})


def incumbents(trace: Trace, wall: float) -> list[Trial]:
    """Return the trials that were the best so far when they ended, in order of time.

    If the peer finally chooses another configuration, it is added at `wall` seconds.
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
