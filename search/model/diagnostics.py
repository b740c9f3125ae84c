"""Diagnostics of a champion on the held-out rows: permutation importance and predictions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.dataset import Dataset
from search.data.encoding import default_output
from search.forest.growing import ENCODING
from search.forest.metrics import Metric
from search.model.champion import Champion, predict
from search.study.notes import Findings
from storage.records import sign

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 1000
# Only the columns with the largest impurity-based importance are shuffled.
_MOST_COLUMNS = 15
_REPEATS = 5
MOST_CLASSES = 20
# Limits of the findings that are stored in the study's database.
_KEPT_ROWS = 500
_NAME_LENGTH = 100


@dataclass(frozen=True)
class Diagnostics:
    """Results on a dataset's held-out rows.

    Attributes
    ----------
    columns
        Names of raw columns, the most important first.
    losses : array of shape (n_columns, repeats)
        Increase of the loss when the column is shuffled.
    forecast : array of shape (n_rows,), or (n_rows, n_classes)
        The champion's predictions for the held-out rows: values, or class probabilities.
    """

    columns: list[str]
    losses: NDArray[Any]
    forecast: NDArray[Any]

    def note(self, dataset: Dataset) -> Findings:
        """Return the part of the results that is stored in the study's database."""
        medians = np.median(self.losses, axis=1)
        importance = [
            (name[:_NAME_LENGTH], float(loss))
            for name, loss in zip(self.columns, medians, strict=True)
        ]
        truth = dataset.held_out_y
        if dataset.classes is None:
            chosen = np.linspace(0, len(truth) - 1, min(len(truth), _KEPT_ROWS)).astype(int)
            predicted, true = (
                [float(f"{value:.6g}") for value in values[chosen]]
                for values in (self.forecast, truth)
            )
            return Findings(importance=importance, predicted=predicted, true=true, rows=len(truth))
        if dataset.n_classes > MOST_CLASSES:
            return Findings(importance=importance)
        classes = [str(label)[:_NAME_LENGTH] for label in dataset.classes]
        counts: list[list[int]] = self.confusion(dataset).tolist()
        return Findings(importance=importance, classes=classes, confusion=counts)

    def confusion(self, dataset: Dataset) -> NDArray[Any]:
        """Return counts of held-out rows, by true class (rows) and predicted class (columns)."""
        counts = np.zeros((dataset.n_classes, dataset.n_classes), dtype=int)
        np.add.at(counts, (dataset.held_out_y.astype(int), self.forecast.argmax(axis=1)), 1)
        return counts


@default_output()
def examine(champion: Champion, dataset: Dataset, metric: Metric) -> Diagnostics | None:
    """Examine a champion on the held-out rows; return ``None`` if no rows were held out."""
    if not len(dataset.held_out_y):
        return None
    # Encoding a table of many columns takes seconds, whatever its number of rows.
    rows = champion.pipeline[:-1].transform(dataset.held_out_features)
    columns, losses = permutation_importance(champion, dataset, metric, rows)
    forecast = predict(champion.pipeline[-1], rows, dataset.task)
    return Diagnostics(columns, losses, forecast)


def permutation_importance(
    champion: Champion, dataset: Dataset, metric: Metric, encoded: "pd.DataFrame"
) -> tuple[list[str], NDArray[Any]]:
    """Compute the permutation importance of raw columns on held-out rows (Breiman 2001).

    At most 1,000 rows are used. Each column is shuffled five times.

    Parameters
    ----------
    encoded
        All held-out rows as numbers.

    Returns
    -------
    names of the columns, the most important first, and the increases of the loss, shape
    (n_columns, repeats)
    """
    import pandas as pd

    forest = champion.pipeline[-1]
    random = np.random.default_rng(0)
    n_rows = len(dataset.held_out_y)
    shuffled = random.permutation(n_rows)
    if dataset.classes is not None:  # some scores need a row of every class
        firsts = np.unique(dataset.held_out_y[shuffled], return_index=True)[1]
        shuffled = np.concatenate([shuffled[firsts], np.delete(shuffled, firsts)])
    chosen = np.sort(shuffled[:_MOST_ROWS])
    rows = encoded.iloc[chosen].reset_index(drop=True)
    y = dataset.held_out_y[chosen]
    weights = dataset.held_out_roles.weights
    weights = None if weights is None else weights[chosen]

    def losses_of(*tables: "pd.DataFrame") -> list[float]:
        """Return the loss on each table; the trees are called once for all of them."""
        forecasts = np.split(
            predict(forest, pd.concat(tables, ignore_index=True), dataset.task), len(tables)
        )
        return [
            sign(metric.direction) * metric.from_predictions(y, forecast, weights)
            for forecast in forecasts
        ]

    outputs = dataset.encode(champion.params.get(ENCODING)).sources
    split = dict(zip(rows.columns, forest.feature_importances_, strict=True))
    by_splits = sorted(outputs, key=lambda name: -sum(split[column] for column in outputs[name]))
    ranked = by_splits[:_MOST_COLUMNS]
    (before,) = losses_of(rows)
    losses = np.empty((len(ranked), _REPEATS))
    # Class probabilities of all repetitions may take too much memory.
    together = _REPEATS if dataset.n_classes <= MOST_CLASSES else 1
    for i, name in enumerate(ranked):
        shuffles = []
        for _ in range(_REPEATS):
            order = random.permutation(len(rows))
            shuffles.append(rows.assign(**{c: rows[c].to_numpy()[order] for c in outputs[name]}))
        parts = (shuffles[k : k + together] for k in range(0, _REPEATS, together))
        losses[i] = [loss - before for part in parts for loss in losses_of(*part)]
    order = np.argsort(-np.median(losses, axis=1), kind="stable")
    return [str(ranked[i]) for i in order], losses[order]
