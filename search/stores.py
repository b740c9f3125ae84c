"""Addresses of Optuna's database, which holds a study, and of MLflow's store, which shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from search.errors import UsageError
from storage import database
from storage.addresses import StoreAddress
from storage.tracking import client as mlflow_client

DEFAULT_STORAGE = "sqlite:///optuna.db"
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


@dataclass(frozen=True)
class Stores:
    """Addresses of Optuna's database and of MLflow's store."""

    storage: str
    tracking_uri: str

    def check(self) -> Iterator[str]:
        """Check the addresses without writing to them; yield warnings.

        Raises
        ------
        UsageError, DatabaseError
            If they cannot be used.
        """
        storage, tracking = StoreAddress(self.storage), StoreAddress(self.tracking_uri)
        if storage.absolute == tracking.absolute:
            raise UsageError(
                f"--storage and --tracking-uri are both {storage}: Optuna and MLflow need separate "
                "databases"
            )
        mlflow_client.check(self.tracking_uri)
        if not storage.is_served:
            storage.parse()
            database.check_writable(self.storage)
        for address in (storage, tracking):
            kind = address.network_file_system()
            if kind is not None:
                yield f"{address} is on a network file system ({kind}): SQLite is unsafe there"
