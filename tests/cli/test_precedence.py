"""Precedence of the values of an option: flag, file, environment, default."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.cli import app
from search.cli.launch import launch
from search.errors import StudyError
from search.stores import DEFAULT_STORAGE, DEFAULT_TRACKING_URI, Stores
from search.study.spec import StudySpec
from search.workers.factory import scheduler_of

# Each option of `launch`, with the value of a flag, the value in a file, and the default.
TABLE: list[tuple[str, Any, Any, Any]] = [
    ("data", "flag.csv", "file.csv", "diabetes"),
    ("query", "select 1", "select 2", None),
    ("max_rows", 70, 80, None),
    ("max_bytes", 7000, 8000, None),
    ("target", "flag", "file", None),
    ("task", "regression", "classification", None),
    ("metric", "mae", "r2", None),
    ("weight", "flag", "file", None),
    ("group", "flag", "file", None),
    ("time", "flag", "file", None),
    ("drop", ("flag", "other"), ("file",), ()),
    ("categorical", ("flag",), ("file", "other"), ()),
    ("positive", "flag", "file", None),
    ("na", ("-999", "flag"), ("file",), ()),
    ("decimal", ",", ".", None),
    ("thousands", ".", ",", None),
    ("dates", "day-first", "month-first", None),
    ("header", False, True, True),
    ("evaluation", "cv", "oob", "auto"),
    ("folds", 3, 4, 5),
    ("trials", 7, 8, 50),
    ("timeout", 7.5, 8.5, None),
    ("workers", 3, 4, None),
    ("scheduler", "tcp://flag:1", "tcp://file:1", None),
    ("detach", True, False, False),
    ("restore", True, False, False),
    ("seed", 7, 8, 0),
    ("holdout", 0.3, 0.4, 0.2),
    ("trees", 70, 80, "auto"),
    ("champion", "best", "smallest", "smallest"),
    ("experiment", "flag", "file", "diabetes"),
    ("model", "flag", "file", "diabetes"),
    ("register", False, True, True),
    ("study", "flag", "file", "diabetes"),
]
FIELDS = {"register": "register_model"}


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[StudySpec, Stores]]:
    """Run `launch` up to its specification and its stores, and return them."""
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[StudySpec, Stores]] = []

    def take(spec: StudySpec, stores: Any = None, *_: Any) -> None:
        seen.append((spec, stores))
        raise StudyError("seen")

    monkeypatch.setattr("search.service.launch.launch", take)
    monkeypatch.setattr("search.service.detached.detach", take)

    def run(*arguments: str, file: str | None = None) -> tuple[StudySpec, Stores]:
        before = list(arguments)
        if file is not None:
            Path("study.toml").write_text(file, encoding="utf-8")
            before += ["--config", "study.toml"]
        assert app.run(before) == 1
        return seen.pop()

    return run


def flag(name: str, value: Any) -> list[str]:
    """Return the arguments that set an option; the study is a positional argument."""
    if name == "study":
        return [str(value)]
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [part for one in values for part in (f"--{name.replace('_', '-')}", str(one))]


def toml(name: str, value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return (
        f"{name} = {str(value).lower() if isinstance(value, bool | int | float) else repr(value)}"
    )


def test_the_table_has_every_option() -> None:
    beside = {"context", "config", "json"}
    assert {name for name, *_ in TABLE} == set(inspect.signature(launch).parameters) - beside


@pytest.mark.parametrize(("name", "by_flag", "by_file", "default"), TABLE)
def test_flag_beats_file_beats_default(
    asked: Callable[..., tuple[StudySpec, Stores]],
    name: str,
    by_flag: Any,
    by_file: Any,
    default: Any,
) -> None:
    field, file = FIELDS.get(name, name), toml(name, by_file)
    beside = ["--data", "sqlite:///shop.db"] if name == "query" else []
    assert getattr(asked("launch")[0], field) == default
    assert getattr(asked("launch", *beside, file=file)[0], field) == by_file
    both, _ = asked("launch", *beside, *flag(name, by_flag), file=file)
    assert getattr(both, field) == by_flag


def test_the_environment_comes_between_file_and_default_for_the_scheduler(
    asked: Callable[..., tuple[StudySpec, Stores]],
) -> None:
    import dask

    def scheduler(*arguments: str, file: str | None = None) -> str | None:
        return scheduler_of(asked("launch", *arguments, file=file)[0])

    file, given = toml("scheduler", "tcp://file:1"), flag("scheduler", "tcp://flag:1")
    with dask.config.set({"scheduler-address": None}):
        assert scheduler() is None
    # Dask reads DASK_SCHEDULER_ADDRESS in this way when it is imported.
    environment = dask.config.collect_env({"DASK_SCHEDULER_ADDRESS": "tcp://environment:1"})
    with dask.config.set(environment):
        assert scheduler() == "tcp://environment:1"
        assert scheduler(file=file) == "tcp://file:1"
        assert scheduler(*given, file=file) == "tcp://flag:1"


@pytest.mark.parametrize(
    ("option", "variable", "default"),
    [
        ("storage", "OPTUNA_STORAGE", DEFAULT_STORAGE),
        ("tracking-uri", "MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI),
    ],
)
def test_flag_beats_environment_beats_default_for_the_stores(
    asked: Callable[..., tuple[StudySpec, Stores]],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    variable: str,
    default: str,
) -> None:
    monkeypatch.delenv(variable, raising=False)
    attribute = option.replace("-", "_")
    assert getattr(asked("launch")[1], attribute) == default
    monkeypatch.setenv(variable, "sqlite:///environment.db")
    assert getattr(asked("launch")[1], attribute) == "sqlite:///environment.db"
    _, stores = asked(f"--{option}", "sqlite:///flag.db", "launch")
    assert getattr(stores, attribute) == "sqlite:///flag.db"
