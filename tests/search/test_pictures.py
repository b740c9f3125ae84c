"""What a champion goes by, and where it errs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shop import table

from search.champion import make_champion
from search.dataset import Dataset, load_dataset
from search.metrics import get_metric
from search.pictures import draw, permutation_importance

PNG = b"\x89PNG\r\n\x1a\n"


def houses(folder: Path, share: float = 0.2, classes: int = 0) -> Dataset:
    made = table()
    made["note"] = [f"house number {i}" for i in range(len(made))]
    if classes:
        made["price"] = pd.qcut(made["price"], classes, labels=False).map("grade {}".format)
    made.to_csv(folder / "houses.csv", index=False)
    return load_dataset(str(folder / "houses.csv"), "price", None, share)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (0, {"importance", "residuals"}),
        (2, {"importance", "confusion", "roc"}),
        (5, {"importance", "confusion", "roc"}),
    ],
)
def test_each_task_has_its_pictures(tmp_path: Path, classes: int, names: set[str]) -> None:
    dataset = houses(tmp_path, classes=classes)
    metric = get_metric(None, dataset.task)
    champion = make_champion(dataset, metric, {}, 20, 0, jobs=2)
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw(champion, dataset, metric, folder)
    assert {path.stem for path in folder.iterdir()} == names
    assert all(path.read_bytes().startswith(PNG) for path in folder.iterdir())


def test_without_a_hold_out_there_are_none(tmp_path: Path) -> None:
    dataset = houses(tmp_path, share=0.0)
    metric = get_metric(None, dataset.task)
    champion = make_champion(dataset, metric, {}, 5, 0, jobs=1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw(champion, dataset, metric, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["rmse", "r2"])
def test_what_the_target_follows_from_matters_most_and_the_rest_not(
    tmp_path: Path, name: str
) -> None:
    dataset = houses(tmp_path)
    metric = get_metric(name, "regression")
    champion = make_champion(dataset, metric, {}, 50, 0, jobs=2)
    names, losses = permutation_importance(champion, dataset, metric)
    assert set(names[:2]) == {"size", "age"}
    assert set(names) == {"size", "age", "street", "note"}
    medians = np.median(losses, axis=1)
    assert (np.diff(medians) <= 0).all()
    assert medians[1] > 5 * abs(medians[2])
