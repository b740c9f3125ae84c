"""Figures of a champion's diagnostics, which its run keeps as PNG images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search import plotting
from search.data.dataset import Dataset
from search.forest.metrics import Metric
from search.model.diagnostics import MOST_CLASSES, Diagnostics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def artifact_path(trial: int) -> str:
    """Return the run's artifact path of the figures of a trial's champion."""
    return f"champion/trial-{trial:04d}"


def save_plots(diagnostics: Diagnostics, dataset: Dataset, metric: Metric, folder: Path) -> None:
    """Write the figures into a folder as PNG files."""
    with plotting.style():
        for name, title, axes in _plots(diagnostics, dataset, metric):
            plotting.fit(axes)
            image = plotting.to_png(axes, f"{title} (held-out rows)")
            (folder / f"{name}.png").write_bytes(image)


def _plots(
    diagnostics: Diagnostics, dataset: Dataset, metric: Metric
) -> Iterator[tuple[str, str, "Axes"]]:
    """Yield each figure's name, its title and its axes."""
    names, losses = diagnostics.columns, diagnostics.losses
    axes = plotting.new_axes(height=plotting.rows_height(len(names)))
    spread = np.stack([losses.min(axis=1), losses.max(axis=1)])
    plotting.draw_importance(axes, names, np.median(losses, axis=1), spread)
    axes.set_xlabel(f"loss in {metric.name} when the column is shuffled")
    yield "importance", "Permutation importance", axes

    forecast, truth, classes = diagnostics.forecast, dataset.held_out_y, dataset.classes
    if classes is None:
        axes = plotting.new_axes()
        plotting.draw_predictions(axes, forecast, truth)
        yield "predictions", "Predicted and true values", axes
        return
    if dataset.n_classes <= MOST_CLASSES:
        axes = plotting.new_axes(height=plotting.confusion_height(dataset.n_classes))
        plotting.draw_confusion(axes, list(classes), diagnostics.confusion(dataset))
        yield "confusion", "Confusion matrix", axes
    axes = plotting.new_axes(height=plotting.WIDTH)
    _draw_roc(axes, dataset, forecast, classes)
    yield "roc", "ROC curves", axes


def _draw_roc(
    axes: "Axes", dataset: Dataset, forecast: NDArray[Any], classes: NDArray[Any]
) -> None:
    from sklearn.metrics import auc, roc_curve

    # Two classes need only one curve: the other one would be its mirror image.
    drawn = [dataset.positive] if len(classes) == 2 else range(len(classes))[:MOST_CLASSES]  # noqa: PLR2004
    for k in drawn:
        name, is_class = classes[k], dataset.held_out_y == k
        false_positives, true_positives, _ = roc_curve(is_class, forecast[:, k])
        area = auc(false_positives, true_positives)
        axes.plot(false_positives, true_positives, label=f"{plotting.label(name)} (AUC {area:.2f})")
    axes.legend(loc="lower right")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
