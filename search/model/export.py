"""Exports the best forest as a few lines of scikit-learn code, which do not need this project."""

from typing import Any

from search.forest.growing import champion_seed, make_forest
from search.formatting import params_listed, visible
from search.model.champion import champion_size
from search.study.notes import read_initialized
from search.study.ranking import best_of
from storage.studies.study import Study

_VECTORIZER = """\
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from skrub import StringEncoder, TableVectorizer

ordinal = OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=float("nan"), dtype="float32"
)
text = StringEncoder(random_state=0)
table = TableVectorizer(low_cardinality=ordinal, high_cardinality=text)
model = make_pipeline(table, forest)"""


def as_python(study: Study) -> str:
    """Return the code that makes a study's best forest: `forest`, or `model` for a raw table.

    Fitted on the study's training rows, as the comments in the code describe, it equals the
    champion tree by tree.

    Raises
    ------
    StudyError
        If the study was not made by grovekeeper, or has no complete trial.
    """
    notes = read_initialized(study)
    spec = notes.spec
    best = best_of(study)
    trees = champion_size(notes.asked.trees, best.enough_steps)
    n_classes = 0 if spec.description.task == "regression" else 2
    forest = make_forest(best.params, n_classes, trees, champion_seed(spec.seed), jobs=-1)
    kind = type(forest)
    changed = _changed(forest.get_params(), kind().get_params())
    about = (
        f"Study {study.name}, trial {best.number}: {spec.metric} {best.value:.5g}, "
        f"{spec.evaluation} ({params_listed(best.params)})"
    )
    said = [about]
    weight, group = spec.description.weight, spec.description.group
    if weight:
        said += [f"Column {weight!r} holds weights w: fit with sample_weight=w / w.mean()"]
    if group:
        said += [f"Column {group!r} groups rows: it is not a feature"]
    lines = [
        *(f"# {' '.join(visible(text).split())}" for text in said),
        f"from sklearn.ensemble import {kind.__name__}",
        "",
        f"forest = {kind.__name__}(",
        *(f"    {name}={value!r}," for name, value in changed.items()),
        ")",
    ]
    # Numeric tables need no encoding; other tables are encoded first.
    return "\n".join(lines if notes.numeric else [*lines, "", _VECTORIZER])


def _changed(params: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from scikit-learn's defaults."""
    return {name: value for name, value in params.items() if value != defaults[name]}
