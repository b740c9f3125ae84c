"""The results file: JSON lines, one a table, split and peer, appended as they are measured."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OURS = "grovekeeper"


@dataclass(frozen=True)
class Result:
    """One peer on one split of one table. Times are in seconds.

    Attributes
    ----------
    trials
        That were asked for; `tried` is how many there were.
    wall, cpu
        Of the whole command, from a cold start to its end.
    start_up, search
        Wall seconds before the first trial began, and from then to the end of the last.
    search_cpu
        CPU seconds of all processes in the time of `search`.
    growing
        Spent in fitting and scoring forests, over all cores; ``None`` where unknown.
    held_out
        Loss on the test rows of the final configuration with 500 trees, a number a refit.
    incumbents
        (seconds since the process began, loss on the test rows with 500 trees) of each
        configuration that was the best so far by the peer's own score.
    refit_cpu
        CPU seconds of growing the final configuration's 500 trees; ours only, as are the next two.
    coordinating
        CPU seconds a trial of the process that coordinates, measured once, on the smallest table.
    phases
        `seconds` of ``grovekeeper show --json``.
    """

    table: str
    split: int
    peer: str
    trials: int
    rows: int
    columns: int
    classes: int
    metric: str
    cores: int
    wall: float
    cpu: float
    start_up: float
    search: float
    search_cpu: float
    growing: float | None
    tried: int
    held_out: list[float]
    incumbents: list[tuple[float, float]]
    best_params: Mapping[str, Any]
    date: str
    versions: Mapping[str, str]
    refit_cpu: float | None = None
    coordinating: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, str]:
        """Table, split and peer."""
        return self.table, self.split, self.peer

    @property
    def loss(self) -> float:
        """Mean held-out loss over the refits."""
        return sum(self.held_out) / len(self.held_out)


Results = dict[tuple[str, int, str], Result]


def read_results(path: Path) -> Results:
    """Read a results file; without one, nothing."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return {result.key: result for result in (Result(**json.loads(line)) for line in lines)}


def append_result(path: Path, result: Result) -> None:
    """Add a line to a results file."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(result), default=lambda value: value.item()) + "\n")


def tables_of(results: Iterable[Result]) -> list[str]:
    """Names of the tables, smallest first."""
    return list(dict.fromkeys(r.table for r in sorted(results, key=lambda r: r.rows * r.columns)))
