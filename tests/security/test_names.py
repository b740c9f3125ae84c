"""Hostile names in tables, databases and arguments do no harm where they are shown or used."""

import csv
import json
import os
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from search.cli.app import run
from storage.tracking.client import connect

SCRIPT = "<script>alert(1)</script>"
LINK = "a` [x](javascript:alert(1)) `b"
ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b31m"
TURNED = "\u202egnp.exe"
FORMULA = "=cmd|' /C calc'!A1"
SQL = "'; drop table runs; --"
UNSEEN = set("\x07\x1b\x9b\x7f\u202e")
HOSTILE = [
    SCRIPT,
    LINK,
    ESCAPE,
    TURNED,
    FORMULA,
    SQL,
    "../../etc/passwd",
    "$\\frac{$",
    "n" * 10_000,
]

Run = Callable[..., str]


@pytest.fixture
def printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in this process; return its output, which must have no hidden characters."""
    (tmp_path / "deep" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "work")
    for name in ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, expect: int = 0) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as `main` does
            code = run(list(arguments))
        text = "".join(capfd.readouterr())
        assert code == expect, text[-1000:]
        assert not UNSEEN & set(text)
        return text

    return call


@pytest.fixture
def table(tmp_path: Path) -> str:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({name[:500]: random.normal(size=150) for name in HOSTILE})
    rows[f"{LINK}{ESCAPE}{TURNED}{'y' * 400}"] = np.resize(["=a", ESCAPE, "</script>"], 150)
    rows.to_csv(tmp_path / "hostile.csv", index=False)
    return str(tmp_path / "hostile.csv")


@pytest.mark.slow
def test_a_table_with_hostile_names_is_searched_without_harm(
    printed: Run, table: str, tmp_path: Path
) -> None:
    printed("launch", "--data", table, "--trials", "3", "--workers", "1")
    for command in (("show", "hostile"), ("show", "hostile", "--json"), ("report", "hostile")):
        printed(*command)
    printed("promote", "hostile", "--force", "--reason", f"{FORMULA} {ESCAPE}")
    assert json.loads(printed("history", "hostile", "--json"))["moves"][0]["reason"]
    printed("history", "hostile")
    page = Path("hostile.html").read_text()
    assert "<script" not in page
    assert "</script" not in page
    assert not UNSEEN & set(page)
    mlflow = connect("sqlite:///mlflow.db")
    card = mlflow.get_model_version("hostile", "1").description or ""
    (study,) = mlflow.search_runs(["1"], "tags.`grovekeeper.kind` = 'study'")
    for text in (card, study.data.tags["mlflow.note.content"]):
        assert "a' [x](javascript:alert(1)) 'b" in text  # escaped inside inline code
        assert len(text) < 5_000
        assert not UNSEEN & set(text)
    assert all(len(v) <= 5_000 for v in mlflow.get_model_version("hostile", "1").tags.values())
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "hostile.csv"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"work"}


def test_init_quotes_hostile_names(printed: Run, table: str) -> None:
    printed("init", table, "--output", "hostile.toml")
    text = Path("hostile.toml").read_text()
    assert not UNSEEN & set(text)
    assert tomllib.loads(text)["target"].startswith(LINK + ESCAPE)


@pytest.mark.slow
def test_hostile_names_from_other_programs_are_shown_without_harm(
    printed: Run, tmp_path: Path
) -> None:
    # No longer than the longest name that Optuna allows.
    names = [name[:500] for name in (*HOSTILE, "-rf", "..", "a\0b", "two\nlines")]
    make_studies(names)
    printed("studies")
    assert {study["study"] for study in json.loads(printed("studies", "--json"))} == set(names)
    for name in names:
        printed("show", "--", name)
        rows = list(csv.reader(printed("show", "--csv", "--", name).splitlines()))
        cells = [cell for row in rows for cell in row if cell[:1] in {"=", "+", "@", "-"}]
        assert all(float(cell) for cell in cells), (name, cells)
        assert f"'{FORMULA}" in rows[0]
        printed("best", "--", name)
        printed("report", "--", name)
        (page,) = (tmp_path / "deep" / "work").glob("*.html")
        text = page.read_text()
        assert not UNSEEN & set(text), name
        assert "<script" not in text, name
        assert os.listdir(tmp_path) == ["deep"], name
        assert os.listdir(tmp_path / "deep") == ["work"], name
        page.unlink()


def make_studies(names: list[str]) -> None:
    """Make studies with these names, and with hostile names of parameters, as Optuna allows."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage("sqlite:///optuna.db")
    for name in names:
        study = optuna.create_study(storage=storage, study_name=name)
        study.enqueue_trial({FORMULA: "-1", ESCAPE: 0.5})
        study.optimize(
            lambda t: t.suggest_float(ESCAPE, 0, 1) + float(t.suggest_categorical(FORMULA, ["-1"])),
            n_trials=2,
        )
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize("option", ["study", "experiment", "model"])
@pytest.mark.parametrize("name", [*HOSTILE, "..", "a/b", "a\\b", "a'b", "a\nb", "a\0b", "é"])
def test_ambiguous_names_are_refused(printed: Run, option: str, name: str) -> None:
    Path("study.toml").write_text(f"{option} = {json.dumps(name)}")
    said = printed("launch", "--config", "study.toml", expect=2)
    assert f"{option} name" in said
    assert said.count("\n") == 1
    assert len(said) < 3_000
    assert os.listdir() == ["study.toml"]
