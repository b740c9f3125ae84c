"""A champion's diagnostics on the held-out rows, and their figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import make_dataset
from shop import table

from search.data.dataset import Dataset
from search.forest.metrics import get_metric
from search.model import diagnostics
from search.model.champion import make_champion
from search.model.diagnostics import examine
from search.model.plots import save_plots

PNG = b"\x89PNG\r\n\x1a\n"


def houses(folder: Path, share: float = 0.2, classes: int = 0) -> Dataset:
    made = table()
    made["note"] = [f"house number {i}" for i in range(len(made))]
    if classes:
        made["price"] = pd.qcut(made["price"], classes, labels=False).map("grade {}".format)
    made.to_csv(folder / "houses.csv", index=False)
    return make_dataset(str(folder / "houses.csv"), "price", holdout=share)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (0, {"importance", "predictions"}),
        (2, {"importance", "confusion", "roc"}),
        (5, {"importance", "confusion", "roc"}),
    ],
)
def test_each_task_has_its_figures(tmp_path: Path, classes: int, names: set[str]) -> None:
    dataset = houses(tmp_path, classes=classes)
    metric = get_metric(None, dataset.task)
    champion = make_champion(dataset, metric, {}, 20, 0, jobs=2)
    folder = tmp_path / "figures"
    folder.mkdir()
    found = examine(champion, dataset, metric)
    assert found is not None
    save_plots(found, dataset, metric, folder)
    assert {path.stem for path in folder.iterdir()} == names
    assert all(path.read_bytes().startswith(PNG) for path in folder.iterdir())


def test_formulas_and_control_characters_in_names_are_shown_as_text(tmp_path: Path) -> None:
    made = table().rename(columns={"size": "$\\frac{$", "age": "\x1b[31m\u202e", "street": "a$b"})
    made["price"] = np.where(made["price"] > 0, "$\\frac{$", "\x07 at $1 and $2")
    made.to_csv(tmp_path / "houses.csv", index=False)
    dataset = make_dataset(str(tmp_path / "houses.csv"), "price", holdout=0.2)
    metric = get_metric(None, dataset.task)
    found = examine(make_champion(dataset, metric, {}, 5, 0, jobs=1), dataset, metric)
    assert found is not None
    save_plots(found, dataset, metric, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_without_held_out_rows_there_are_no_diagnostics(tmp_path: Path) -> None:
    dataset = houses(tmp_path, share=0.0)
    metric = get_metric(None, dataset.task)
    champion = make_champion(dataset, metric, {}, 5, 0, jobs=1)
    assert examine(champion, dataset, metric) is None


@pytest.mark.parametrize("classes", [0, 3])
def test_the_note_agrees_with_the_diagnostics(tmp_path: Path, classes: int) -> None:
    dataset = houses(tmp_path, classes=classes)
    metric = get_metric(None, dataset.task)
    champion = make_champion(dataset, metric, {}, 20, 0, jobs=2)
    found = examine(champion, dataset, metric)
    assert found is not None
    note = json.loads(found.note(dataset).model_dump_json())
    assert [name for name, _ in note["importance"]] == found.columns
    if classes:
        assert note["classes"] == ["grade 0", "grade 1", "grade 2"]
        counts = np.array(note["confusion"])
        assert counts.sum() == len(dataset.held_out_y)
        assert np.trace(counts) == (found.forecast.argmax(axis=1) == dataset.held_out_y).sum()
    else:
        np.testing.assert_allclose(note["true"], dataset.held_out_y, rtol=1e-5)
        np.testing.assert_allclose(note["predicted"], found.forecast, rtol=1e-5)


@pytest.mark.parametrize("name", ["rmse", "r2"])
def test_columns_that_determine_the_target_are_the_most_important(
    tmp_path: Path, name: str
) -> None:
    dataset = houses(tmp_path)
    metric = get_metric(name, "regression")
    champion = make_champion(dataset, metric, {}, 50, 0, jobs=2)
    found = examine(champion, dataset, metric)
    assert found is not None
    names, losses = found.columns, found.losses
    assert set(names[:2]) == {"size", "age"}
    assert set(names) == {"size", "age", "street", "note"}
    medians = np.median(losses, axis=1)
    assert (np.diff(medians) <= 0).all()
    assert medians[1] > 5 * abs(medians[2])


def test_importance_is_computed_on_rows_of_every_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a row of the rare class, `roc_auc` is undefined."""
    monkeypatch.setattr(diagnostics, "_MOST_ROWS", 30)
    random = np.random.default_rng(0)
    size = random.normal(size=4000)
    rare = np.where(size > np.sort(size)[-9], "rare", "common")
    frame = pd.DataFrame({"size": size, "luck": random.normal(size=4000), "kind": rare})
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = make_dataset(str(tmp_path / "t.parquet"), "kind", holdout=0.6)
    metric = get_metric("roc_auc", dataset.task)
    champion = make_champion(dataset, metric, {}, 20, 0, jobs=2)
    found = examine(champion, dataset, metric)
    assert found is not None
    names, losses = found.columns, found.losses
    assert names == ["size", "luck"]
    assert np.isfinite(losses).all()


def test_an_empty_column_has_no_importance(tmp_path: Path) -> None:
    table().assign(empty=None).to_parquet(tmp_path / "houses.parquet")
    dataset = make_dataset(str(tmp_path / "houses.parquet"), "price", holdout=0.2)
    metric = get_metric(None, "regression")
    champion = make_champion(dataset, metric, {}, 20, 0, jobs=2)
    found = examine(champion, dataset, metric)
    assert found is not None
    names = found.columns
    assert set(names) == {"size", "age", "street"}
