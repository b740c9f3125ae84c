"""Addresses of Optuna's database, which holds a study, and of MLflow's store, which shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from search.errors import UsageError
from storage import database
from storage.redaction import redact
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
        if database.absolute(self.storage) == database.absolute(self.tracking_uri):
            msg = (
                f"--storage and --tracking-uri are both {redact(self.storage)}: "
                "Optuna and MLflow need separate databases"
            )
            raise UsageError(msg)
        mlflow_client.check(self.tracking_uri)
        if not database.is_served(self.storage):
            database.parse(self.storage)
            database.check_writable(self.storage)
        for url in (self.storage, self.tracking_uri):
            kind = database.remote_filesystem(url)
            if kind is not None:
                place = redact(url)
                yield f"{place} is on a network file system ({kind}): SQLite is unsafe there"
