"""`grovekeeper ui`: start the MLflow UI on the configured store."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

import typer

from search.cli.options import globals_of
from search.cli.output import echo
from search.cli.signals import Stopped, StopSignals
from search.errors import StudyError

_START_TIMEOUT = 120.0
_POLL = 0.2
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Addresses that mean all interfaces, and the loopback address to open instead.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not bound
# Browsers omit this port from the Host header.
_HTTP = 80


def ui(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5000,
    study: Annotated[
        str | None, typer.Option(help="Print the addresses of this study's view, too.")
    ] = None,
) -> None:
    """Start the MLflow UI and print its address. Ctrl-C ends it.

    Example: grovekeeper ui --study diabetes
    """
    from storage.addresses import StoreAddress
    from storage.registry.client import open_registry
    from storage.tracking import client as mlflow_client

    options = globals_of(context)
    uri = options.tracking_uri
    tracking = StoreAddress(uri)
    pages = _pages_of(study, options.storage, uri)
    if tracking.is_server:
        mlflow_client.check(uri)
        echo("\n".join([f"MLflow UI: {tracking}", *pages(str(tracking))]))
        return
    open_registry(uri)
    _check_free(host, port)
    address = _address(host, port)
    if host not in _LOOPBACK:
        options.say(
            f"the UI has no password: everyone who can reach {host}:{port} can change its content"
        )
    with StopSignals(), _start(uri, host, port) as server:
        try:
            _wait_until_up(server, address)
            echo("\n".join([f"MLflow UI: {address} (Ctrl-C ends it)", *pages(address)]))
            server.communicate()
        except Stopped:
            server.terminate()
            raise
    raise StudyError(f"the MLflow UI ended with exit code {server.returncode}")


def _pages_of(name: str | None, storage: str, tracking_uri: str) -> Callable[[str], list[str]]:
    """Return a function that lists the addresses of a study's pages on a server."""
    if name is None:
        return lambda _: []
    from search.study.notes import read_notes
    from storage.studies.foreign import foreign_uid
    from storage.studies.study import StudyBook
    from storage.tracking import views
    from storage.tracking.study_run import experiment_of

    study = StudyBook(storage).open(name)
    notes = read_notes(study)
    uid, experiment = notes.uid, None if notes.mirror is None else notes.mirror.experiment_id
    if uid is None:  # made by another tool
        uid = foreign_uid(study.optuna)
        experiment = experiment_of(tracking_uri, uid)
    if experiment is None:
        raise StudyError(f"study '{name}' is not in MLflow: run `grovekeeper sync {name}`")
    return lambda server: [
        f"trials: {views.page(server, experiment, uid)}",
        f"charts: {views.page(server, experiment, uid, charts=True)}",
    ]


def _start(uri: str, host: str, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port)]
    environment = {
        # MLflow's GenAI jobs would start eight more processes of 250 MB each.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Only these names: MLflow's default allows private addresses such as 10.*, too.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_names(host, port)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": _address(host, port),
        # The UI shows models and never loads one.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        **os.environ,
        # The address can hold a password, so it is not put on the command line.
        "MLFLOW_BACKEND_STORE_URI": uri,
    }
    return subprocess.Popen(  # noqa: S603 a fixed command
        [*command, "--workers", "1"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _address(host: str, port: int) -> str:
    """Return the address to open. A server that listens on all interfaces is opened on loopback."""
    shown = _EVERYWHERE.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _names(host: str, port: int) -> list[str]:
    """Return the host names that a browser may use; on all interfaces also the machine's name.

    Users add other names by MLFLOW_SERVER_ALLOWED_HOSTS.
    """
    hosts = [urlsplit(_address(host, port)).netloc.rpartition(":")[0], "localhost"]
    hosts += [socket.gethostname()] if host in _EVERYWHERE else []
    return [name if port == _HTTP else f"{name}:{port}" for name in dict.fromkeys(hosts)]


def _check_free(host: str, port: int) -> None:
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        msg = f"cannot listen on {host}:{port} ({error.strerror}): try another --host or --port"
        raise StudyError(msg) from error


def _wait_until_up(server: "subprocess.Popen[bytes]", address: str) -> None:
    from urllib.request import ProxyHandler, build_opener

    direct = build_opener(ProxyHandler({}))  # a proxy cannot reach a server of this machine
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            output = server.stderr.read().decode(errors="replace") if server.stderr else ""
            last = (output.strip().splitlines() or ["no message"])[-1]
            raise StudyError(f"the MLflow UI did not start: {last}")
        try:
            direct.open(f"{address}/health", timeout=1).close()
        except OSError:
            time.sleep(_POLL)
        else:
            return
    server.terminate()
    raise StudyError(f"the MLflow UI did not answer at {address} within {_START_TIMEOUT:.0f} s")
