"""`grovekeeper doctor`: it reports findings and remedies, and creates nothing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Shell
from dask_servers import DaskServers


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[DaskServers]:
    servers = DaskServers(tmp_path)
    yield servers
    servers.stop()


def test_an_empty_folder_passes_and_nothing_is_created(shell: Shell) -> None:
    findings = {finding["name"]: finding for finding in shell.json("doctor")}
    assert all(finding["fit"] for finding in findings.values())
    assert list(findings) == ["versions", "machine", "disk", "addresses", "studies", "MLflow"]
    for name in ("studies", "MLflow"):
        assert "does not exist yet: the first launch creates it" in findings[name]["text"]
    for library in ("python", "optuna", "mlflow", "scikit-learn", "distributed"):
        assert f"{library} " in findings["versions"]["text"]
    assert list(shell.folder.iterdir()) == []


def test_it_counts_studies_and_models(launched: Shell) -> None:
    printed = launched("doctor").stdout
    assert "sqlite:///optuna.db: 1 study\n" in printed
    assert "sqlite:///mlflow.db: 1 registered model\n" in printed
    assert [line[:2] for line in printed.splitlines()] == ["ok"] * 6


def test_a_cluster_is_checked_too(shell: Shell, servers: DaskServers) -> None:
    servers.add_worker("--resources", "coordinator=1", threads=3)
    deadline, printed = time.monotonic() + 60, ""
    while (
        "1 worker, 3 threads, same versions as here; a coordinator is there for --detach"
        not in printed
    ):
        assert time.monotonic() < deadline, printed
        printed = shell("doctor", "--scheduler", servers.address).stdout


@pytest.mark.parametrize(
    ("stores", "name", "text"),
    [
        (("--tracking-uri", "http://127.0.0.1:9"), "MLflow", "does not answer"),
        (("--storage", "sqlite:///nowhere/optuna.db"), "studies", "there is no folder nowhere"),
        (("--storage", "postgresql+psycopg://ann:s3cret@127.0.0.1:9/x"), "studies", "cannot open"),
        (("--storage", "sqlite:///mlflow.db"), "addresses", "need separate databases"),
        (("--tracking-uri", "http://ann:s3cret@127.0.0.1:9"), "MLflow", "does not answer"),
        (("--tracking-uri", "http://ann:s3cret@localhost"), "MLflow", "does not answer"),
        (("--tracking-uri", "postgresql+psycopg://ann:s3cret@127.0.0.1:9/x"), "MLflow", "refused"),
    ],
)
def test_each_problem_is_one_line_with_a_remedy(
    here: Callable[..., int],
    stores: tuple[str, str],
    name: str,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert here(*stores, "doctor") == 1
    printed = capsys.readouterr()
    bad = [line for line in printed.out.splitlines() if line.startswith("BAD")]
    (line,) = [line for line in bad if f" {name} " in line]
    assert text in line
    assert "s3cret" not in printed.out + printed.err
    assert len(bad) == 1
