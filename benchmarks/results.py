"""The results file: one JSON line per table, split and peer, appended when measured."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OURS = "grovekeeper"


@dataclass(frozen=True)
class Result:
    """Result of one peer on one split of one table. Times are in seconds.

    Attributes
    ----------
    trials
        Requested number of trials; `tried` is the actual number.
    wall, cpu
        Time of the whole command, from a cold start to its end.
    start_up, search
        Wall seconds before the start of the first trial, and from then to the end of the last.
    search_cpu
        CPU seconds of all processes during `search`.
    growing
        Time spent fitting and scoring forests, over all cores; ``None`` if unknown.
    held_out
        Losses on the test rows of the final configuration with 500 trees, one per refit.
    incumbents
        (seconds since the start of the process, loss on the test rows with 500 trees) of each
        configuration that was the best so far by the peer's own score.
    refit_cpu
        CPU seconds to grow 500 trees of the final configuration. This and the next two are
        measured for Grovekeeper only.
    coordinating
        CPU seconds per trial in the coordinator, measured once, on the smallest table.
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
        """Key of a result: table, split and peer."""
        return self.table, self.split, self.peer

    @property
    def loss(self) -> float:
        """Mean held-out loss over the refits."""
        return sum(self.held_out) / len(self.held_out)


Results = dict[tuple[str, int, str], Result]


def read_results(path: Path) -> Results:
    """Read a results file; return an empty mapping if it does not exist."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return {result.key: result for result in (Result(**json.loads(line)) for line in lines)}


def append_result(path: Path, result: Result) -> None:
    """Append a line to a results file."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(result), default=lambda value: value.item()) + "\n")


def tables_of(results: Iterable[Result]) -> list[str]:
    """Names of the tables, smallest first."""
    return list(dict.fromkeys(r.table for r in sorted(results, key=lambda r: r.rows * r.columns)))
