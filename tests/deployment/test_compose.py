"""docker-compose.yml: its content, and a study on its services from launch to Staging."""

import json
import re
import time
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import numpy as np
import pandas as pd
import psycopg
import pytest
import yaml
from agreement import assert_agreement
from composed import FILE, ROOT, Composed, interpolate
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PASSWORDS = {name: f"{name.lower()}-of-this-test" for name in (
    "POSTGRES_PASSWORD", "MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY")}  # fmt: skip
_WITH_PASSWORDS = {"postgres", "mlflow", "coordinator"}


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(interpolate(FILE.read_text(), _PASSWORDS))


def test_the_file_follows_the_compose_specification(document: Any) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)


def test_services_need_passwords_and_the_file_contains_none() -> None:
    text = FILE.read_text()
    for name in _PASSWORDS:
        with pytest.raises(ValueError, match=f"{name} is missing: create .env first"):
            interpolate(text, {key: value for key, value in _PASSWORDS.items() if key != name})
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    assert not re.search(r"PASSWORD[^$\n]*:-", text)


def test_published_ports_are_on_loopback(document: Any) -> None:
    published = [
        port for service in document["services"].values() for port in service.get("ports", ())
    ]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_containers_run_unprivileged_and_read_only(document: Any) -> None:
    for name, service in document["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.search(r":\d+(\.\d+)+", service["image"]), name
        assert "build" in service or service["user"] not in {"root", "0"}, name
    *_, user = re.findall(r"^USER (\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert user == "10001:10001"


def test_mounted_configs_are_files_without_secrets(
    document: Any,
) -> None:
    """Compose cannot mount inline content in read-only containers (docker/compose #12531)."""
    for config in document["configs"].values():
        assert set(config) == {"file"}
        assert not re.search(r"password *=|://\w+:", (ROOT / config["file"]).read_text())
    assert "secrets" not in document


def test_packages_of_the_image_are_pinned_with_hashes() -> None:
    text = (ROOT / "deploy/requirements-image.txt").read_text()
    assert "://" not in text  # no package index is recorded
    assert "--index" not in text
    pinned: dict[str, str] = {}
    for entry in re.sub(r"#.*", "", text).replace("\\\n", " ").split("\n"):
        if entry.strip():
            requirement, *hashes = entry.split()
            assert hashes, entry
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in hashes)
            name, _, version = requirement.partition("==")
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    for requirement in map(Requirement, needed + extras["server"] + extras["postgres"]):
        if requirement.name != "grovekeeper":
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    assert "--require-hashes" in (ROOT / "deploy/Dockerfile").read_text()


def test_only_services_that_need_passwords_have_them(document: Any) -> None:
    for name, service in document["services"].items():
        has = "-of-this-test" in json.dumps(service)
        assert has == (name in _WITH_PASSWORDS), name


def test_the_mlflow_server_loads_no_pickle_and_sends_no_telemetry(document: Any) -> None:
    environment = document["services"]["mlflow"]["environment"]
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_services_start_after_the_services_they_need_are_healthy(document: Any) -> None:
    needs = {
        name: set(service.get("depends_on", {})) for name, service in document["services"].items()
    }
    assert needs == {
        "postgres": set(),
        "mlflow": {"postgres"},
        "scheduler": set(),
        "worker": {"scheduler"},
        "coordinator": {"scheduler", "postgres", "mlflow"},
    }
    for service in document["services"].values():
        assert "healthcheck" in service
        for condition in service.get("depends_on", {}).values():
            assert condition == {"condition": "service_healthy"}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The services, which all tests share because they take long to start."""
    folder = tmp_path_factory.mktemp("composed")
    (folder / "artifacts").mkdir()
    composed = Composed(folder, _PASSWORDS | {"ARTIFACTS": str(folder / "artifacts")})
    try:
        for service in ("postgres", "scheduler", "mlflow", "worker", "coordinator"):
            composed.start(service)
        yield composed
    finally:
        composed.close()


@pytest.mark.slow
def test_the_mlflow_server_requires_the_password(composed: Composed) -> None:
    address = composed.address("5000")

    def ask(
        path: str, login: str | None, body: object = None, method: str = "POST", **headers: str
    ) -> int:
        connection = HTTPConnection(address, timeout=30)
        sent = {"Content-Type": "application/json"} | headers
        if login is not None:
            sent["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        try:
            connection.request(method, path, json.dumps(body or {"max_results": 1}), sent)
            return connection.getresponse().status
        finally:
            connection.close()

    search = "/api/2.0/mlflow/experiments/search"
    own = f"admin:{_PASSWORDS['MLFLOW_PASSWORD']}"
    assert ask(search, own) == 200
    for login in (
        None,
        "admin:",
        "admin:password",
        "admin:password1234",
        "ann:swordfish",
        own[:-1],
    ):
        assert ask(search, login) == 401
    for host in ("evil.example", "10.evil.example:5000", "mlflow"):
        assert ask(search, own, Host=host) == 403
    for origin in ("https://evil.example", "http://10.0.0.1"):
        assert ask(search, own, Origin=origin) == 403
    assert ask("/api/2.0/mlflow/registered-models/create", own, {"name": "theirs"}) == 200
    for source in ("file:///etc", "../..", f"{composed.folder}"):
        theirs = {"name": "theirs", "source": source}
        assert ask("/api/2.0/mlflow/model-versions/create", own, theirs) == 400
    for path in (
        "../auth.ini",
        quote("../auth.ini", safe=""),
        quote(f"{composed.folder}/auth.ini"),
    ):
        place = f"/api/2.0/mlflow-artifacts/artifacts/{path}"
        assert ask(place, own, method="GET") in {400, 404}


def enlarge(table: pd.DataFrame) -> pd.DataFrame:
    """Make trials slow, because at the end every trial is compared with its run."""
    random, large = np.random.default_rng(0), pd.concat([table] * 60, ignore_index=True)
    return large.assign(size=large["size"] + random.normal(size=len(large)))


@pytest.mark.faults
def test_a_study_reaches_staging_although_each_service_restarts(
    composed: Composed,
    mixed_table: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = composed.environment("coordinator")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, environment[name])
    storage = environment["OPTUNA_STORAGE"]
    table = tmp_path / "houses.csv"
    enlarge(mixed_table).to_csv(table, index=False)

    def grovekeeper(*arguments: str) -> str:
        done = composed.run("coordinator", "grovekeeper", *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def ask(command: str, *arguments: str) -> Any:
        return json.loads(grovekeeper(command, "houses", *arguments, "--json"))

    def launch(trials: int) -> None:
        data = ("--data", str(table), "--trials", str(trials), "--trees", "20")
        said = grovekeeper("launch", "houses", *data, "--detach")
        assert "stop it: grovekeeper stop houses" in said or "trials complete" in said

    def ended() -> int:
        # Reading the database takes less time than `show`.
        with psycopg.connect(storage.replace("+psycopg", "")) as database:
            states = "select state from trials where state in ('COMPLETE', 'PRUNED')"
            return len(database.execute(states).fetchall())

    def wait_for(trials: int) -> None:
        deadline = time.monotonic() + 180
        while ended() < trials:
            assert time.monotonic() < deadline, ask("show")
            time.sleep(0.5)

    launch(100_000)
    # MLflow takes long to start. Without the worker, fewer trials end meanwhile.
    composed.stop("worker")
    composed.restart("mlflow")
    for service in ("worker", "postgres", "coordinator"):
        before = ended()
        begin = composed.start if service == "worker" else composed.restart
        begin(service)
        wait_for(before + 3)
    composed.restart("scheduler")
    before = ended()
    deadline = time.monotonic() + 120
    while True:  # until workers and coordinator have reconnected
        try:
            launch(100_000)
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(1)
    wait_for(before + 3)
    grovekeeper("stop", "houses")
    assert ask("show")["state"] == "stopped"
    launch(ended() + 3)
    shown = ask("watch")
    assert shown["state"] == "finished"
    assert shown["model"] == {"name": "houses", "version": 1}
    grovekeeper("sync", "houses")
    moved = ask("promote", "--to", "Staging")
    composed.restart("postgres")
    assert [move["to"] for move in ask("history")["moves"]] == ["Staging"], moved
    assert_agreement(storage, environment["MLFLOW_TRACKING_URI"], "houses")
