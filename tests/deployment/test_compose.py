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


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Composed]:
    """The services, not started yet."""
    (tmp_path / "artifacts").mkdir()
    composed = Composed(tmp_path, _PASSWORDS | {"ARTIFACTS": str(tmp_path / "artifacts")})
    try:
        yield composed
    finally:
        composed.close()


@pytest.fixture
def composed(stopped: Composed, monkeypatch: pytest.MonkeyPatch) -> Composed:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", _PASSWORDS["MLFLOW_PASSWORD"])
    for service in ("postgres", "scheduler", "mlflow", "worker", "coordinator"):
        stopped.start(service)
    return stopped


@pytest.mark.slow
def test_the_mlflow_server_requires_the_password(stopped: Composed) -> None:
    stopped.start("postgres")
    stopped.start("mlflow")
    address = stopped.address("5000")

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
    for source in ("file:///etc", "../..", f"{stopped.folder}"):
        theirs = {"name": "theirs", "source": source}
        assert ask("/api/2.0/mlflow/model-versions/create", own, theirs) == 400
    for path in ("../auth.ini", quote("../auth.ini", safe=""), quote(f"{stopped.folder}/auth.ini")):
        place = f"/api/2.0/mlflow-artifacts/artifacts/{path}"
        assert ask(place, own, method="GET") in {400, 404}


@pytest.mark.faults
def test_a_study_reaches_staging_although_each_service_restarts(
    composed: Composed, mixed_table: pd.DataFrame, tmp_path: Path
) -> None:
    # The table is large so that trials are slow: at the end every trial is compared with its run.
    random, table = np.random.default_rng(0), pd.concat([mixed_table] * 60, ignore_index=True)
    table["size"] += random.normal(size=len(table))
    table.to_csv(tmp_path / "houses.csv", index=False)

    def grovekeeper(*arguments: str) -> str:
        done = composed.run("coordinator", "grovekeeper", *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def show() -> Any:
        return json.loads(grovekeeper("show", "houses", "--json"))

    def launch(trials: int) -> None:
        data = ("--data", str(tmp_path / "houses.csv"), "--trials", str(trials))
        said = grovekeeper("launch", "houses", *data, "--detach")
        assert "stop it: grovekeeper stop houses" in said or "trials complete" in said

    def ended() -> int:
        return int(show()["trials"]["complete"] + show()["trials"]["pruned"])

    def wait_for(trials: int) -> None:
        deadline = time.monotonic() + 180
        while ended() < trials:
            assert time.monotonic() < deadline, show()
            time.sleep(0.5)

    launch(100_000)
    for service in ("worker", "mlflow", "postgres", "coordinator"):
        before = ended()
        composed.restart(service)
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
    assert show()["state"] == "stopped"
    launch(ended() + 3)
    deadline = time.monotonic() + 120
    while (shown := show())["state"] != "finished":
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    assert shown["model"] == {"name": "houses", "version": 1}
    grovekeeper("sync", "houses")
    moved = json.loads(grovekeeper("promote", "houses", "--to", "Staging", "--json"))
    for service in ("postgres", "mlflow"):
        composed.restart(service)
    history = json.loads(grovekeeper("history", "houses", "--json"))
    assert [move["to"] for move in history["moves"]] == ["Staging"], moved
    environment = composed.environment("coordinator")
    assert_agreement(environment["OPTUNA_STORAGE"], environment["MLFLOW_TRACKING_URI"], "houses")
