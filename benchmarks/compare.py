"""Run Grovekeeper and other hyperparameter searches side by side.

    python benchmarks/compare.py --tables FOLDER --flaml-python flaml-env/bin/python

FOLDER contains Hitters.csv, Boston.csv, College.csv, OJ.csv and Default.csv; scikit-learn's
diabetes, breast_cancer, wine and digits are added. FLAML needs its own environment:

    python -m venv flaml-env
    flaml-env/bin/pip install "flaml[automl]"

Every peer runs as a separate command with cold caches in an empty folder, with the same training
rows, number of trials and cores. FLAML gets ten times Grovekeeper's time instead of a number of
trials. Results are appended as they are measured: the same command continues an interrupted run.
`python benchmarks/report.py` prints tables and draws the figure. Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import measure
import ours
from peers import PEERS
from results import OURS, Result, Results, append_result, read_results
from scoring import FINAL_SEEDS, METRICS, Judge
from tables import Split, load_tables, make_split
from traces import Trace, incumbents, read_trace

HERE = Path(__file__).parent
SLOW = frozenset({"recipe", "random", "optuna-search", "flaml"})
FLAML = "flaml"
_TIMES_OUR_SECONDS = 10


def main() -> int:
    """Measure everything that is not in the results file yet."""
    arguments = _arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    tables = load_tables(arguments.tables, arguments.table, arguments.only)
    results = read_results(arguments.results)
    _refuse_to_mix(results, arguments)
    measure.check()
    failures = 0
    for number in range(arguments.splits):
        for table in tables:
            split = make_split(table, number)
            judge = Judge(split, arguments.cores)
            for peer in _peers_of(arguments, number):
                key = (table.name, number, peer)
                if key in results:
                    continue
                print(f"{table.name} {number} {peer:14}", end=" ", flush=True)
                try:
                    result = _compare(peer, split, judge, results, arguments)
                except (RuntimeError, subprocess.SubprocessError) as error:
                    print(f"failed: {error}")
                    failures += 1
                    continue
                append_result(arguments.results, result)
                results[key] = result
                print(f"{result.wall:7.1f} s  cpu {result.cpu:7.1f} s  held out {result.loss:.5g}")
    return 1 if failures else 0


def _compare(
    peer: str,
    split: Split,
    judge: Judge,
    results: Results,
    arguments: argparse.Namespace,
) -> Result:
    """Run a peer on a split and score its configurations."""
    extra: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split.write(folder)
        if peer == OURS:
            measured = ours.launch(split.table, arguments.trials, folder)
            trace, shown = ours.read_study(folder, measured.began)
            extra = {
                "phases": shown["seconds"],
                "refit_cpu": judge.refit_cpu(trace.best_params),
                "coordinating": _coordinating(results, split),
            }
        else:
            command = _command(peer, split, results, arguments)
            measured = measure.run(command, folder)
            trace = read_trace(folder / "trace.json")
    return _result(peer, split, judge, measured, trace, arguments, extra)


def _coordinating(results: Results, split: Split) -> float:
    """Measure once per results file, on the first table: the value does not depend on the table."""
    known = [r.coordinating for r in results.values() if r.coordinating is not None]
    return known[0] if known else ours.coordinating(split)


def _command(peer: str, split: Split, results: Results, arguments: argparse.Namespace) -> list[str]:
    python, seconds = sys.executable, 0.0
    if peer == FLAML:
        own = results.get((split.table.name, split.number, OURS))
        if own is None:
            raise RuntimeError(f"its seconds are ten times those of {OURS}, which is not measured")
        python, seconds = str(arguments.flaml_python.absolute()), _TIMES_OUR_SECONDS * own.wall
    return [
        *(python, str((HERE / "peers.py").resolve()), peer),
        *("--data", "train.npz", "--task", split.table.task, "--trace", "trace.json"),
        *("--trials", str(arguments.trials), "--cores", str(arguments.cores)),
        *("--seconds", str(seconds)),
    ]


def _result(
    peer: str,
    split: Split,
    judge: Judge,
    measured: measure.Measured,
    trace: Trace,
    arguments: argparse.Namespace,
    extra: dict[str, Any],
) -> Result:
    table = split.table
    return Result(
        table=table.name,
        split=split.number,
        peer=peer,
        trials=arguments.trials,
        rows=len(table.X),
        columns=table.X.shape[1],
        classes=len(set(table.y)) if table.task == "classification" else 0,
        metric=METRICS[table.task],
        cores=arguments.cores,
        wall=measured.wall,
        cpu=measured.cpu,
        start_up=trace.start_up,
        search=trace.end - trace.start_up,
        search_cpu=measured.cpu_at(trace.end) - measured.cpu_at(trace.start_up),
        growing=trace.growing,
        tried=len(trace.trials),
        held_out=[judge.held_out(trace.best_params, seed) for seed in FINAL_SEEDS],
        incumbents=[
            (trial.seconds, judge.held_out(trial.params))
            for trial in incumbents(trace, measured.wall)
        ],
        best_params=trace.best_params,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=trace.versions,
        **extra,
    )


def _peers_of(arguments: argparse.Namespace, split: int) -> Iterable[str]:
    for peer in (OURS, *PEERS):
        wanted = arguments.peers is None or peer in arguments.peers
        if peer == FLAML and arguments.flaml_python is None:
            continue
        if wanted and (peer not in SLOW or split < arguments.slow_splits):
            yield peer


def _refuse_to_mix(results: Results, arguments: argparse.Namespace) -> None:
    """Exit if the file has results of a benchmark with other settings."""
    here = {(result.trials, result.cores) for result in results.values()}
    if here - {(arguments.trials, arguments.cores)}:
        trials, cores = here.pop()
        raise SystemExit(
            f"{arguments.results} has results of {trials} trials on {cores} cores: "
            "name another file with --results, or the same --trials and --cores"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="folder of the CSV files")
    parser.add_argument(
        "--table", action="append", default=[], metavar="FILE:TARGET:TASK", help="one more table"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables only")
    parser.add_argument("--peers", nargs="+", choices=[OURS, *PEERS], help="these peers only")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--slow-splits", type=int, default=3, help=f"for {', '.join(sorted(SLOW))}")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--flaml-python", type=Path, metavar="PATH", help="without it, no FLAML")
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.peers and FLAML in arguments.peers and arguments.flaml_python is None:
        parser.error("the peer flaml needs --flaml-python")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
