"""Compare searches on large tables at equal wall time.

    python -m venv flaml-env && flaml-env/bin/pip install "flaml[automl]" pyarrow
    pip install -e ".[bench]"
    python benchmarks/large.py run --flaml-python flaml-env/bin/python
    python benchmarks/large.py report

Every search is a separate command with cold caches. It reads the training rows from a Parquet file
and has to end with a fitted model within the budget; Grovekeeper also registers it. The model
predicts test rows, which are 20% of the table. A command that has not ended after three times the
budget is stopped and counts as without a model; the tables show how long the others took. Results
are appended to large.jsonl as they are measured: the same command continues an interrupted run.
Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import measure
import numpy as np
import pandas as pd
from large_peers import PEERS
from large_tables import TABLES, LargeTable
from sklearn.metrics import brier_score_loss, root_mean_squared_error

HERE = Path(__file__).parent
OURS = "grovekeeper"
BUDGETS = (30, 60, 120, 300)
_COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
_STUDY = "large"
# The default of `launch`: a search may end before its budget is spent.
_TRIALS = "50"
_TOLERANCE = 3
_PREDICT = """
import sys, mlflow, numpy as np, pandas as pd
model = mlflow.pyfunc.load_model("models:/large/1").get_raw_model()
X = pd.read_parquet("test.parquet").drop(columns=sys.argv[1])
found = model.predict_proba(X)[:, 1] if sys.argv[2] == "classification" else model.predict(X)
np.save("predictions.npy", found)
"""


@dataclass(frozen=True)
class Result:
    """Result of one search on one table with one budget.

    Attributes
    ----------
    wall, cpu
        Seconds of the whole command; of a command that was stopped, the time until then.
    loss
        Root mean squared error or Brier score on the test rows; ``None`` without a model.
    trials
        Number of finished trials (Grovekeeper only).
    phases
        `seconds` of ``grovekeeper show --json`` (Grovekeeper only).
    """

    table: str
    rows: int
    columns: int
    metric: str
    peer: str
    budget: int
    seed: int
    wall: float
    cpu: float | None
    loss: float | None
    trials: int | None
    failure: str | None
    date: str
    version: str
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Key of a result: table, peer, budget and seed."""
        return self.table, self.peer, self.budget, self.seed


def main() -> int:
    """Measure what is missing, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--only", nargs="+", choices=[table.name for table in TABLES])
    parser.add_argument("--peers", nargs="+", choices=[OURS, *PEERS], default=[OURS, *PEERS])
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--flaml-python", type=Path, metavar="PATH", help="without it, no FLAML")
    parser.add_argument("--results", type=Path, default=HERE / "large.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    results = _read(arguments.results)
    if arguments.what == "report":
        print(report(results))
        return 0
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    measured = {result.key for result in results}
    for table in TABLES:
        if arguments.only is None or table.name in arguments.only:
            _run_table(table, measured, arguments)
    return 0


def _run_table(
    table: LargeTable, measured: set[tuple[str, str, int, int]], arguments: argparse.Namespace
) -> None:
    """Measure all missing results of one table."""
    peers = [p for p in arguments.peers if p != "flaml" or arguments.flaml_python is not None]
    missing = [
        (budget, peer)
        for budget in arguments.budgets
        for peer in peers
        if (table.name, peer, budget, arguments.seed) not in measured
    ]
    if not missing:
        return
    train, test = table.split(arguments.seed)
    for budget, peer in missing:
        result = _measure(table, train, test, peer, budget, arguments)
        with arguments.results.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        loss = "no model" if result.loss is None else f"{result.loss:.5g}"
        print(f"{table.name:10} {budget:4} s {peer:12} {result.wall:6.1f} s  {loss}", flush=True)


def _measure(
    table: LargeTable,
    train: pd.DataFrame,
    test: pd.DataFrame,
    peer: str,
    budget: int,
    arguments: argparse.Namespace,
) -> Result:
    """Run one search in a new folder and score its model on the test rows."""
    limit = _TOLERANCE * budget
    wall, cpu, loss, trials, failure = limit, None, None, None, None
    phases: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train.to_parquet(folder / "train.parquet", index=False)
        test.to_parquet(folder / "test.parquet", index=False)
        try:
            cost = measure.run(_command(table, peer, budget, arguments), folder, limit)
            wall, cpu = cost.wall, cost.cpu
            if peer == OURS:
                trials, phases = _shown(folder)
                _predict(folder, table)
            loss = _loss(table, test, np.load(folder / "predictions.npy"))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failure = str(error)[-500:]
    return Result(
        table=table.name,
        rows=len(train),
        columns=train.shape[1] - 1,
        metric="rmse" if table.task == "regression" else "brier",
        peer=peer,
        budget=budget,
        seed=arguments.seed,
        wall=wall,
        cpu=cpu,
        loss=loss,
        trials=trials,
        failure=failure,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version(OURS),
        phases=phases,
    )


def _command(table: LargeTable, peer: str, budget: int, arguments: argparse.Namespace) -> list[str]:
    data = ["--target", table.target, "--task", table.task]
    if peer == OURS:
        search = [
            "--model",
            _STUDY,
            "--trials",
            _TRIALS,
            "--timeout",
            str(budget),
            "--holdout",
            "0",
        ]
        return [_COMMAND, "launch", _STUDY, "--data", "train.parquet", *data, *search]
    python = str(arguments.flaml_python.absolute()) if peer == "flaml" else sys.executable
    limits = ["--cores", str(arguments.cores), "--seconds", str(budget)]
    return [python, str((HERE / "large_peers.py").resolve()), peer, *data, *limits]


def _shown(folder: Path) -> tuple[int, dict[str, float]]:
    """Return the number of finished trials and the seconds of each phase."""
    command = [_COMMAND, "show", _STUDY, "--json"]
    output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    shown = json.loads(output)
    return shown["trials"]["complete"] + shown["trials"]["pruned"], shown["seconds"]


def _predict(folder: Path, table: LargeTable) -> None:
    """Write the predictions of the registered model."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    command = [sys.executable, "-c", _PREDICT, table.target, table.task]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


def _loss(table: LargeTable, test: pd.DataFrame, predictions: np.ndarray) -> float:
    y = test[table.target].to_numpy()
    if table.task == "regression":
        return float(root_mean_squared_error(y, predictions))
    return float(brier_score_loss(y == max(y), predictions))


def _read(path: Path) -> list[Result]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [Result(**json.loads(line)) for line in lines]


def report(results: Iterable[Result]) -> str:
    """Return the Markdown tables of docs/benchmarks.md."""
    found = {result.key: result for result in results}
    seeds = sorted({key[3] for key in found})
    budgets = sorted({key[2] for key in found})
    peers = [peer for peer in (OURS, *PEERS) if any(key[1] == peer for key in found)]
    lines = []
    for budget in budgets:
        lines += [f"### {budget} seconds", ""]
        lines += [
            "| table | metric | " + " | ".join(peers) + " |",
            "| --- " * (len(peers) + 2) + "|",
        ]
        ratios: dict[str, list[float]] = {peer: [] for peer in peers}
        for table in TABLES:
            for seed in seeds:
                row = {peer: found.get((table.name, peer, budget, seed)) for peer in peers}
                ours = row[OURS]
                if ours is None:
                    continue
                cells = [_cell(row[peer]) for peer in peers]
                lines.append(f"| {table.name} | {ours.metric} | " + " | ".join(cells) + " |")
                for peer, result in row.items():
                    if result is not None and result.loss is not None and ours.loss is not None:
                        ratios[peer].append(ours.loss / result.loss)
        means = [_mean(ratios[peer]) for peer in peers]
        lines += [f"| ratio of ours, geometric mean | | {' | '.join(means)} |", ""]
    return "\n".join(lines)


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.loss is None:
        return f"no model ({result.wall:.0f} s)"
    return f"{result.loss:.4g} ({result.wall:.0f} s)"


def _mean(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{np.exp(np.mean(np.log(ratios))):.3f} of {len(ratios)}"


if __name__ == "__main__":
    sys.exit(main())
