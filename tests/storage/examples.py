"""Example records and helpers that several storage tests share."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage

from storage.records import DataRecord, ModelVersion, StudyRecord, TrialRecord
from storage.registry.client import Registry
from storage.studies.study import StudyBook

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = {
    "max_depth": CategoricalDistribution([None, 4]),
    "max_features": FloatDistribution(0.0, 1.0),
}


def trial(number: int, state: str = "COMPLETE", value: float | None = None) -> TrialRecord:
    """Return a trial that ended `number` minutes after the first trial."""
    done = state in {"COMPLETE", "PRUNED"}
    score = value if value is not None else 50.0 - number
    return TrialRecord(
        number=number,
        state=state,  # type: ignore[arg-type]
        params={"max_depth": None, "max_features": 0.1 + number / 100},
        scores={16: score + 1, 64: score} if done else {},
        value=score if done else None,
        steps=64 if done else None,
        fit_seconds=0.5 if done else None,
        started=BEGIN + timedelta(minutes=number),
        ended=None if state == "RUNNING" else BEGIN + timedelta(minutes=number + 1),
        place=number,
        reason="it broke" if state == "FAIL" else None,
    )


def study_record(
    name: str = "houses", uid: str | None = None, metric: str = "rmse", guide: str | None = None
) -> StudyRecord:
    return StudyRecord(
        name=name,
        uid=uid or uuid.uuid4().hex,
        metric=metric,
        guide=guide or metric,
        state="running",
        params={"target": "price", "seed": "0"},
        data=DataRecord(name, "houses.csv", "d" * 64, "price", 100, 5),
        started=BEGIN,
        charted=("max_features", "min_samples_leaf", "max_samples"),
        steps_param="n_estimators",
        counts={"complete": 0},
        throughput_metric="trees_per_second",
    )


def close(storage: RDBStorage) -> None:
    """Close all connections, which would otherwise warn when they are garbage-collected."""
    storage.remove_session()
    storage.engine.dispose()


def database_of(book: StudyBook) -> str:
    """Return the address of the database itself, even if a Dask scheduler serves it."""
    return book.url.removeprefix("dask+")


def close_book(book: StudyBook) -> None:
    """Close the connections of a book, or its client of a Dask scheduler."""
    if book._served is not None:
        book._served.storage.client.close()
    else:
        close(book.rdb)


def add_version(registry: Registry, name: str, folder: Path, trial: str) -> ModelVersion:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(f"artifact_path: model\nflavors: {{}}\n# {trial}\n")
    run = registry._client.create_run("0")
    model = registry.new_model("0", run.info.run_id, "model")
    registry.log_folder(model, folder)
    return registry.register(name, model, {"trial": trial}, f"trial {trial}")
