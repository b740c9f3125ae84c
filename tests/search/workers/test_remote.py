"""Growing trees on an existing Dask cluster."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dask_servers import DaskServers
from made import PARAMS, grown
from processes import free_port

from search.environment import installed
from search.errors import DataError, StudyError
from search.forest.fitting import fit_forest, make_forest
from search.forest.oob import RungResult, evaluate_rung
from search.forest.training_set import TrainingSet
from search.model.fingerprint import fingerprint
from search.workers.base import GrowthRequest, Workers
from search.workers.remote import RemoteWorkers, TrainingSetPlugin, version_differences
from storage.errors import LeaseLostError, SchedulerError
from storage.scheduler import connect

# Dask leaves connections to dead or missing schedulers to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RUNGS = (16, 64)
TIMEOUT = 60


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """Let the garbage collector ignore what exists already: it would examine it for seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def collect_leftover_connections(frozen: None) -> Iterator[None]:
    """Collect garbage in this module, where its warnings are ignored, and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[DaskServers]:
    servers = DaskServers(tmp_path)
    yield servers
    servers.stop()


def make_request(training_set: TrainingSet, key: int = 1) -> GrowthRequest:
    return GrowthRequest(
        key=key,
        seed=7,
        place=3,
        params=PARAMS,
        start=0,
        rungs=RUNGS,
        rows=len(training_set.y),
        metric="rmse",
        incumbent={},
        chunk=training_set.chunk,
    )


def grow(workers: Workers, rows: TrainingSet, key: int = 1) -> list[dict[str, Any]]:
    workers.grow_to_end(make_request(rows, key))
    found_key, _, found = workers.finished.get(timeout=TIMEOUT)
    assert found_key == key
    assert isinstance(found, list), found
    return [without_times(each) for each in found]


def without_times(result: RungResult) -> dict[str, Any]:
    measured = {"seconds", "spans"}
    return {name: value for name, value in asdict(result).items() if name not in measured}


def expected(rows: TrainingSet) -> list[dict[str, Any]]:
    return [
        without_times(evaluate_rung(grown(rows, PARAMS, n, 7, 3), rows, "rmse", {})) for n in RUNGS
    ]


def hide_coordinator_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the coordinator's folder unreadable for workers, as on another machine."""
    init = TrainingSetPlugin.__init__

    def init_elsewhere(
        self: TrainingSetPlugin, owner: str, key: str, folder: str, *rest: Any
    ) -> None:
        init(self, owner, key, f"/nowhere{folder}", *rest)

    monkeypatch.setattr(TrainingSetPlugin, "__init__", init_elsewhere)


def test_the_workers_grow_the_trees_of_a_forest(servers: DaskServers, few: TrainingSet) -> None:
    servers.add_worker()
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        workers.load(few)
        grow = workers.forest_grower
        parts = sorted(grow(PARAMS, 7, 20), key=lambda part: part[0])
    expected = fit_forest(make_forest(PARAMS, few.n_classes, 20, 7), few.X, few.y, None)
    trees = [tree for _, part in parts for tree in part]
    assert fingerprint(trees) == fingerprint(expected.estimators_)


@pytest.mark.slow
def test_dead_workers_and_a_dead_scheduler_are_noticed_while_a_forest_grows(
    servers: DaskServers, few: TrainingSet, caplog: pytest.LogCaptureFixture
) -> None:
    def kill_scheduler() -> None:
        wait_for(lambda: "no worker is left: waiting for one" in caplog.text)
        servers.kill_scheduler()

    killing = threading.Thread(target=kill_scheduler)
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        workers.load(few)
        parts = workers.forest_grower(PARAMS, 7, 16_000)
        next(parts)
        servers.workers[0].kill()
        servers.add_worker()
        next(parts)
        servers.workers[1].kill()
        killing.start()
        with pytest.raises(StudyError, match="is gone or was restarted"):
            list(parts)
    killing.join()


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("reachable", [True, False])
def test_remote_workers_grow_the_same_trees_with_and_without_the_shared_folder(
    servers: DaskServers, few: TrainingSet, reachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reachable:
        hide_coordinator_folder(monkeypatch)
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        wait_for(lambda: workers.present() == 1)
        workers.load(few)
        assert grow(workers, few) == expected(few)
    with RemoteWorkers(servers.address, "uid") as workers:  # a second time
        workers.load(few)
        assert grow(workers, few) == expected(few)


def test_threads_of_all_workers_count_as_they_join_and_leave(
    servers: DaskServers, few: TrainingSet
) -> None:
    with RemoteWorkers(servers.address, "uid") as workers:
        assert (workers.present(), workers.count()) == (0, 1)
        workers.load(few)
        workers.grow_to_end(make_request(few))
        first = servers.add_worker(threads=2)
        wait_for(lambda: workers.present() == 2)
        assert workers.count() == 2
        assert workers.finished.get(timeout=TIMEOUT)[0] == 1
        servers.add_worker()
        wait_for(lambda: workers.present() == 3)
        first.kill()
        wait_for(lambda: workers.present() == 1)
        assert grow(workers, few, key=2) == expected(few)  # the later worker has the training set


def test_an_unreachable_scheduler_is_reported_with_its_address() -> None:
    for address in (f"tcp://127.0.0.1:{free_port()}", "nonsense://x", "tcp://"):
        with pytest.raises(
            SchedulerError, match=r"no Dask scheduler answers at .*`dask scheduler`"
        ):
            connect(address, timeout=1.0)


@pytest.mark.parametrize("restarted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_dead_or_restarted_scheduler_is_reported(
    servers: DaskServers, few: TrainingSet, restarted: bool
) -> None:
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        workers.load(few)
        assert grow(workers, few) == expected(few)
        servers.kill_scheduler()
        if restarted:
            servers.start_scheduler()
        with pytest.raises(StudyError, match="is gone or was restarted: finished trials are kept"):
            wait_for(lambda: workers.present() < 0)
        assert workers.finished.empty()


@pytest.mark.slow
def test_growths_of_a_dead_scheduler_can_be_cancelled_and_new_ones_report_it(
    servers: DaskServers, few: TrainingSet
) -> None:
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        workers.load(few)
        growth = workers.grow_to_end(make_request(few))
        servers.kill_scheduler()
        with pytest.raises(StudyError, match="is gone or was restarted: finished trials are kept"):
            wait_for(lambda: workers.grow_to_end(make_request(few)).results.done() is None)
        workers.cancel(growth)


def test_tls_uses_dasks_configuration(tmp_path: Path, few: TrainingSet) -> None:
    certificate, key = make_certificate(tmp_path)
    files = {"ca-file": certificate, "cert": certificate, "key": key}
    options = [text for name, path in files.items() for text in (f"--tls-{name}", str(path))]
    servers = DaskServers(tmp_path, "tls", options)
    address = servers.address
    try:
        servers.add_worker()
        mine = {"ca-file": certificate, "client.cert": certificate, "client.key": key}
        tls = {f"distributed.comm.tls.{name}": str(path) for name, path in mine.items()}
        with dask.config.set(tls), RemoteWorkers(address, "uid") as workers:
            wait_for(lambda: workers.present() == 1)
            workers.load(few)
            assert grow(workers, few) == expected(few)
        with pytest.raises(SchedulerError, match="no Dask scheduler answers at tls://"):
            RemoteWorkers(address, "uid").__enter__()
    finally:
        servers.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


@pytest.fixture
def older_worker(tmp_path: Path) -> tuple[str, str]:
    """Options that start a worker with other package versions."""
    module = tmp_path / "older.py"
    module.write_text(
        "from search import environment\n"
        "now = environment.installed()\n"
        "environment.installed = lambda: now | {'numpy': '1.0'}\n"
        "import search.workers.remote\n"
        "search.workers.remote.installed = environment.installed\n"
    )
    return "--preload", str(module)


@pytest.mark.slow
def test_a_later_worker_with_other_versions_is_retired(
    servers: DaskServers, few: TrainingSet, older_worker: tuple[str, str]
) -> None:
    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as workers:
        wait_for(lambda: workers.present() == 1)
        workers.load(few)
        late = servers.add_worker(*older_worker)
        wait_for(lambda: bool(workers._incomplete))
        for key in range(12):
            workers.grow_to_end(make_request(few, key))
        assert workers.present() == 1
        wait_for(lambda: late.poll() is not None)
        assert workers._incomplete == set()  # it may join again at this address once repaired
        for _ in range(12):
            assert isinstance(workers.finished.get(timeout=TIMEOUT)[2], list)


def test_a_new_coordinator_replaces_the_training_set_of_a_dead_one(
    servers: DaskServers, few: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_coordinator_folder(monkeypatch)
    servers.add_worker()
    with (
        RemoteWorkers(servers.address, "uid") as dead,
        RemoteWorkers(servers.address, "uid") as live,
    ):
        wait_for(lambda: live.present() == 1)
        dead.load(few)
        live.load(few)
        assert grow(live, few) == expected(few)
        assert len(list(Path(servers.folder).rglob("rows-*/X.npy"))) == 1


def test_a_replaced_coordinator_does_not_remove_the_training_set_of_its_successor(
    servers: DaskServers, few: TrainingSet
) -> None:
    """A coordinator that was suspended until its lease expired continues and exits."""

    def check() -> None:
        raise LeaseLostError("another process has it")

    servers.add_worker()
    with RemoteWorkers(servers.address, "uid") as live:
        wait_for(lambda: live.present() == 1)
        with RemoteWorkers(servers.address, "uid", check) as replaced:
            replaced.load(few)
            live.load(few)
        assert grow(live, few) == expected(few)


def test_a_worker_with_other_versions_is_refused(
    servers: DaskServers, older_worker: tuple[str, str]
) -> None:
    servers.add_worker(*older_worker)
    with pytest.raises(StudyError, match=r"has numpy 1\.0 \(here .*same versions on every worker"):
        wait_for(lambda: _enters(servers.address))
    assert version_differences(installed(), installed() | {"pandas": "1"}) == ""
    assert "python missing" in version_differences(installed(), {})


def _enters(address: str) -> bool:
    with RemoteWorkers(address, "uid") as workers:
        return workers.present() < 0


def test_a_training_set_that_does_not_fit_into_a_worker_is_refused(
    servers: DaskServers, few: TrainingSet
) -> None:
    servers.add_worker("--memory-limit", "100MB")
    with RemoteWorkers(servers.address, "uid") as workers:
        wait_for(lambda: workers.present() == 1)
        with pytest.raises(
            DataError, match=r"150 rows need 2\d\d MB in worker .*, which has 100 MB"
        ):
            workers.load(few)


def test_the_training_set_is_removed_from_workers_at_the_end(
    servers: DaskServers, few: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_coordinator_folder(monkeypatch)
    servers.add_worker()

    def files() -> list[Path]:
        return list(Path(servers.folder).rglob("rows-*/X.npy"))

    with RemoteWorkers(servers.address, "uid") as workers:
        wait_for(lambda: workers.present() == 1)
        workers.load(few)
        grow(workers, few)
        assert len(files()) == 1
    wait_for(lambda: files() == [])
    assert psutil.pid_exists(servers.workers[0].pid)
