"""Pictures of a champion on its hold-out: what it goes by, and where it errs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.champion import Champion, predict
from search.dataset import Dataset
from search.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_ROWS = 1000
# Columns shown: those that the trees split on best.
_MOST_COLUMNS = 15
_REPEATS = 5
_MOST_CLASSES = 20
_DPI = 110


def artifact_path(trial: int) -> str:
    """Where a run keeps the pictures of a trial's champion."""
    return f"champion/trial-{trial:04d}"


def draw(champion: Champion, dataset: Dataset, metric: Metric, folder: Path) -> None:
    """Write the pictures as PNG files into a folder; none where no row was held out."""
    if not len(dataset.held_out_y):
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, paint in _paints(champion, dataset, metric):
        figure = Figure(figsize=(7, 5), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.subplots())
        figure.savefig(folder / f"{name}.png", dpi=_DPI)


def _paints(champion: Champion, dataset: Dataset, metric: Metric) -> Iterator[tuple[str, Any]]:
    forecast = predict(champion.pipeline, dataset.held_out_features, dataset.task)

    def importance(axes: "Axes") -> None:
        names, losses = permutation_importance(champion, dataset, metric)
        axes.boxplot(losses.T, orientation="horizontal", tick_labels=[_short(n) for n in names])
        axes.invert_yaxis()
        axes.axvline(0, color="0.7", linewidth=1)
        axes.set(xlabel=f"loss in {metric.name} when the column is shuffled", title="Importance")

    yield "importance", importance
    if dataset.classes is None:
        yield "residuals", lambda axes: _residuals(axes, dataset.held_out_y, forecast)
        return
    if dataset.n_classes <= _MOST_CLASSES:
        yield "confusion", lambda axes: _confusion(axes, dataset, forecast)
    yield "roc", lambda axes: _roc(axes, dataset, forecast)


def permutation_importance(
    champion: Champion, dataset: Dataset, metric: Metric
) -> tuple[list[str], NDArray[Any]]:
    """Shuffle one raw column after the other among held-out rows (Breiman 2001).

    Returns
    -------
    names of the columns, the most important first, and by how much the score got worse, shape
    (n_columns, repeats)
    """
    table, forest = champion.pipeline[:-1], champion.pipeline[-1]
    random = np.random.default_rng(0)
    n_rows = len(dataset.held_out_y)
    chosen = np.sort(random.permutation(n_rows)[:_MOST_ROWS])
    rows = table.transform(dataset.held_out_features.iloc[chosen])
    y = dataset.held_out_y[chosen]
    weights = dataset.held_out_roles.weights
    weights = None if weights is None else weights[chosen]
    sign = 1 if metric.direction == "minimize" else -1

    def loss(values: "pd.DataFrame") -> float:
        return sign * metric.of_predictions(y, predict(forest, values, dataset.task), weights)

    made = table.named_steps["table"].input_to_outputs_
    outputs = {name: list(columns) for name, columns in made.items() if columns}
    split = dict(zip(rows.columns, forest.feature_importances_, strict=True))
    by_splits = sorted(outputs, key=lambda name: -sum(split[column] for column in outputs[name]))
    ranked = by_splits[:_MOST_COLUMNS]
    before, losses = loss(rows), np.empty((len(ranked), _REPEATS))
    for i, name in enumerate(ranked):
        for repeat in range(_REPEATS):
            order = random.permutation(len(rows))
            column = {c: rows[c].to_numpy()[order] for c in outputs[name]}
            losses[i, repeat] = loss(rows.assign(**column)) - before
    order = np.argsort(-np.median(losses, axis=1), kind="stable")
    return [str(ranked[i]) for i in order], losses[order]


def _residuals(axes: "Axes", y: NDArray[Any], forecast: NDArray[Any]) -> None:
    axes.scatter(forecast, y - forecast, s=14, alpha=0.6, linewidths=0)
    axes.axhline(0, color="0.5", linewidth=1)
    axes.set(xlabel="predicted", ylabel="true minus predicted", title="Residuals, hold-out")


def _confusion(axes: "Axes", dataset: Dataset, forecast: NDArray[Any]) -> None:
    from sklearn.metrics import ConfusionMatrixDisplay

    labels = [_short(str(label)) for label in _classes(dataset)]
    ConfusionMatrixDisplay.from_predictions(
        dataset.held_out_y,
        forecast.argmax(axis=1),
        labels=range(dataset.n_classes),
        display_labels=labels,
        cmap="Blues",
        colorbar=False,
        ax=axes,
        xticks_rotation="vertical" if dataset.n_classes > 4 else "horizontal",  # noqa: PLR2004
    )
    axes.set(title="Confusion matrix, hold-out")


def _roc(axes: "Axes", dataset: Dataset, forecast: NDArray[Any]) -> None:
    from sklearn.metrics import RocCurveDisplay

    classes = list(enumerate(_classes(dataset)))
    # Of two classes one curve says it all.
    for k, label in classes[1:] if len(classes) == 2 else classes[:_MOST_CLASSES]:  # noqa: PLR2004
        RocCurveDisplay.from_predictions(
            dataset.held_out_y == k, forecast[:, k], name=_short(str(label)), ax=axes
        )
    axes.set(xlabel="share of the others taken for it", ylabel="share found", title="ROC, hold-out")


def _classes(dataset: Dataset) -> NDArray[Any]:
    if dataset.classes is None:
        raise TypeError("a regression has no classes")
    return dataset.classes


def _short(name: str) -> str:
    return name if len(name) <= 30 else name[:29] + "…"  # noqa: PLR2004
