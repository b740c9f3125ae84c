"""Pictures of what was found on a champion's hold-out: what it goes by, and where it errs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from search.data.dataset import Dataset
from search.forest.metrics import Metric
from search.formatting import drawn
from search.model.diagnostics import MOST_CLASSES, Diagnostics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 110


def artifact_path(trial: int) -> str:
    """Where a run keeps the pictures of a trial's champion."""
    return f"champion/trial-{trial:04d}"


def draw(findings: Diagnostics, dataset: Dataset, metric: Metric, folder: Path) -> None:
    """Write the pictures as PNG files into a folder."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, paint in _paints(findings, dataset, metric):
        figure = Figure(figsize=(7, 5), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.subplots())
        figure.savefig(folder / f"{name}.png", dpi=_DPI)


def _paints(findings: Diagnostics, dataset: Dataset, metric: Metric) -> Iterator[tuple[str, Any]]:
    forecast = findings.forecast

    def importance(axes: "Axes") -> None:
        names = [_short(name) for name in findings.columns]
        axes.boxplot(findings.losses.T, orientation="horizontal", tick_labels=names)
        axes.invert_yaxis()
        axes.axvline(0, color="0.7", linewidth=1)
        axes.set(xlabel=f"loss in {metric.name} when the column is shuffled", title="Importance")

    yield "importance", importance
    if dataset.classes is None:
        yield "residuals", lambda axes: _residuals(axes, dataset.held_out_y, forecast)
        return
    if dataset.n_classes <= MOST_CLASSES:
        yield "confusion", lambda axes: _confusion(axes, dataset, forecast)
    yield "roc", lambda axes: _roc(axes, dataset, forecast)


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
    for k, label in classes[1:] if len(classes) == 2 else classes[:MOST_CLASSES]:  # noqa: PLR2004
        RocCurveDisplay.from_predictions(
            dataset.held_out_y == k, forecast[:, k], name=_short(str(label)), ax=axes
        )
    axes.set(xlabel="share of the others taken for it", ylabel="share found", title="ROC, hold-out")


def _classes(dataset: Dataset) -> NDArray[Any]:
    if dataset.classes is None:
        raise TypeError("a regression has no classes")
    return dataset.classes


def _short(name: str) -> str:
    return drawn(name if len(name) <= 30 else name[:29] + "…")  # noqa: PLR2004
