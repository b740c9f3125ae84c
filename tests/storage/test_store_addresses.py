"""Store addresses have the expected parts, and messages show them without passwords."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from storage.addresses import StoreAddress


def test_an_address_is_formatted_without_its_password() -> None:
    address = StoreAddress("postgresql://ann:secret@host/db")
    assert f"cannot open {address}" == "cannot open postgresql://ann:***@host/db"
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///optuna.db", Path("optuna.db")),
        ("sqlite:////data/optuna.db", Path("/data/optuna.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://host/db", None),
        ("http://host:5000", None),
    ],
)
def test_a_sqlite_address_names_a_file(
    url: str, file: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = StoreAddress(url)
    assert address.sqlite_file == file
    is_relative = file is not None and not file.is_absolute()
    assert address.absolute == (f"sqlite:///{tmp_path}/{file}" if is_relative else url)


@pytest.mark.parametrize(
    ("kind", "remote"), [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False)]
)
def test_a_network_file_system_is_recognised(
    kind: str, remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="overlay"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=kind),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    url = f"sqlite:///{tmp_path}/deep/optuna.db"
    assert StoreAddress(url).network_file_system() == (kind if remote else None)
    assert StoreAddress("postgresql://host/db").network_file_system() is None
    assert StoreAddress(f"sqlite:///{tmp_path.parent}/optuna.db").network_file_system() is None
