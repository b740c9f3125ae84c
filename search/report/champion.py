"""The champion on its held-out rows: which columns it relies on, and its errors."""

from search import plotting
from search.formatting import short
from search.report.study_data import Figure, StudyData

_NO_CHAMPION = "The study has no champion yet."
_NO_HOLDOUT = "No rows were held out, so the champion's errors are unknown."


def champion_figures(data: StudyData) -> list[Figure]:
    """Draw the permutation importance of columns, and the errors on the held-out rows."""
    return [_importance(data), _errors(data)]


def _missing(data: StudyData) -> str:
    """Return the reason why the study has no diagnostics."""
    return _NO_CHAMPION if data.notes.champion is None else _NO_HOLDOUT


def _importance(data: StudyData) -> Figure:
    name, title = "columns", "Permutation importance"
    caption = (
        f"A bar shows how much worse the champion's {data.metric} on the held-out rows is when the "
        "column is shuffled (median of five repeats)."
    )
    found = data.notes.findings
    if found is None:
        return Figure(name, title, caption, _missing(data))
    pairs = found.importance
    columns, losses = [column for column, _ in pairs], [loss for _, loss in pairs]
    axes = plotting.new_axes(height=plotting.rows_height(len(pairs)))
    plotting.draw_importance(axes, columns, losses)
    axes.set_xlabel(f"loss in {plotting.label(data.metric)}")
    listed = ", ".join(f"{column} {short(loss)}" for column, loss in pairs)
    return Figure(name, title, caption, f"from the most important: {listed}", axes)


def _errors(data: StudyData) -> Figure:
    found = data.notes.findings
    if found is not None and found.classes is not None and found.confusion is not None:
        return _confusion(found.classes, found.confusion)
    name, title = "errors", "Predicted and true values"
    caption = "A dot is a held-out row; on the line the prediction equals the true value."
    if found is None:
        return Figure(name, title, caption, _missing(data))
    predicted, true = found.predicted, found.true
    if predicted is None or true is None:
        missing = "There are too many classes for a confusion matrix."
        return Figure(name, "Confusion matrix", caption, missing)
    axes = plotting.new_axes()
    plotting.draw_predictions(axes, predicted, true)
    rows = found.rows or len(true)
    sample = f"{len(true)} of " if rows > len(true) else ""
    text = f"{sample}{rows} held-out rows, true values from {min(true):.4g} to {max(true):.4g}"
    scores = data.notes.holdout or {}
    text += "".join(f", {metric} {value:.4g}" for metric, value in scores.items())
    return Figure(name, title, caption, text, axes)


def _confusion(classes: list[str], counts: list[list[int]]) -> Figure:
    axes = plotting.new_axes(height=plotting.confusion_height(len(classes)))
    plotting.draw_confusion(axes, classes, counts)
    total, right = sum(map(sum, counts)), sum(row[k] for k, row in enumerate(counts))
    confused = [
        (counts[i][j], f"{classes[i]} is predicted as {classes[j]} ({counts[i][j]} rows)")
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and counts[i][j]
    ]
    text = f"{right} of {total} held-out rows are predicted correctly"
    if confused:
        text += f"; the most frequent error: {max(confused, key=lambda pair: pair[0])[1]}"
    caption = (
        "A row of the matrix is a true class, a column a predicted class; correct predictions lie "
        "on the diagonal."
    )
    return Figure("errors", "Confusion matrix", caption, text, axes)
