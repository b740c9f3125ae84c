"""Exports the champion as a few lines of scikit-learn code, which do not need this project."""

from collections.abc import Iterator
from typing import Any

from search.data.encoding import DEFAULT
from search.forest.fitting import champion_seed, make_forest
from search.forest.growing import ENCODING
from search.formatting import params_listed, visible
from search.model.champion import champion_size
from search.study.choice import chosen_of
from search.study.notes import EncodedColumns, read_initialized
from search.study.ranking import score_name, score_now
from storage.studies.study import Study

_ORDINAL = """\
OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=float("nan"), dtype="float32"
)"""
_ONE_HOT = 'OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype="float32")'
_TARGET = "TargetEncoder({}cv=KFold(5, shuffle=True, random_state=0))"


def as_python(study: Study) -> str:
    """Return the code that makes a study's champion: `forest`, or `model` for a raw table.

    Fitted on the study's training rows, as the comments in the code describe, it equals the
    champion tree by tree.

    Raises
    ------
    StudyError
        If the study was not made by grovekeeper, or no trial has a score.
    """
    notes = read_initialized(study)
    spec = notes.spec
    chosen = chosen_of(study)
    trees = champion_size(notes.asked.trees, chosen)
    if notes.champion is not None and notes.champion.trial == chosen.number:
        trees = notes.champion.trees  # a time limit may have reduced them
    n_classes = 0 if spec.description.task == "regression" else 2
    forest = make_forest(chosen.params, n_classes, trees, champion_seed(spec.seed), jobs=-1)
    kind = type(forest)
    changed = _changed(forest.get_params(), kind().get_params())
    about = (
        f"Study {study.name}, trial {chosen.number}: "
        f"{score_name(chosen, spec.metric, notes.guide)} {score_now(chosen):.5g}, "
        f"{spec.evaluation} ({params_listed(chosen.params)})"
    )
    said = [about]
    weight, group = spec.description.weight, spec.description.group
    encoding = chosen.params.get(ENCODING)
    together = notes.encoded.together
    if "target" in (encoding or "") and together is not None:
        said += [f"The target encoding was cross-fitted by {together}: here it uses random folds"]
    merged = notes.encoded.merged
    if merged:
        said += [
            f"Close values of {merged!r} were merged to grow the trees faster: here they are not"
        ]
    if weight:
        said += [f"Column {weight!r} holds weights w: fit with sample_weight=w / w.mean()"]
    if group:
        said += [f"Column {group!r} groups rows: it is not a feature"]
    drop = list(spec.description.drop)
    if drop:
        said += [f"Columns that are not features: leave them out by rows.drop(columns={drop!r})"]
    lines = [
        *(f"# {' '.join(visible(text).split())}" for text in said),
        f"from sklearn.ensemble import {kind.__name__}",
        "",
        f"forest = {kind.__name__}(",
        *(f"    {name}={value!r}," for name, value in changed.items()),
        ")",
    ]
    # Numeric tables need no encoding; other tables are encoded first.
    if not notes.numeric:
        lines += ["", *_encoder(notes.encoded, encoding, spec.description.task)]
    return "\n".join(lines)


def _encoder(columns: EncodedColumns, encoding: str | None, task: str) -> Iterator[str]:
    """Yield the lines of code that encode a raw table."""
    specific = []
    if columns.texts:
        specific.append(f"(StringEncoder(random_state=0), {columns.texts!r})")
    if columns.categories:
        specific.append(f"(ToCategorical(), {columns.categories!r})")
    if columns.codes:
        specific.append(f"(ToFloat(), {columns.codes!r})")
    parts = _parts(columns, encoding or DEFAULT, task)
    if parts:
        yield "from sklearn.compose import ColumnTransformer"
        if any("TargetEncoder" in part for part in parts):
            yield "from sklearn.model_selection import KFold"
    yield "from sklearn.pipeline import make_pipeline"
    if parts:
        yield "from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder"
    yield "from skrub import StringEncoder, TableVectorizer, ToCategorical, ToFloat"
    yield ""
    yield "table = TableVectorizer("
    yield '    low_cardinality="passthrough",'
    yield '    high_cardinality="passthrough",'
    yield f"    specific_transformers=[{', '.join(specific)}],"
    yield ")"
    if not parts:
        yield "model = make_pipeline(table, forest)"
        return
    yield f'encoder = ColumnTransformer([{", ".join(parts)}], remainder="passthrough")'
    yield 'encoder.set_output(transform="pandas")'
    yield "model = make_pipeline(table, encoder, forest)"


def _parts(columns: EncodedColumns, encoding: str, task: str) -> list[str]:
    """Return the code of the parts of a `ColumnTransformer`; see `search.data.encoding.encode`."""
    names = [*columns.categories, *columns.codes]
    target = _TARGET.format('target_type="continuous", ' if task == "regression" else "")
    code = {"ordinal": _ORDINAL, "target": target, "onehot": _ONE_HOT}
    few = [name for name in names if name in columns.few_levels]
    chosen = dict.fromkeys(encoding.split("+"), names)
    if encoding == "onehot":
        chosen = {"onehot": few, "ordinal": [name for name in names if name not in few]}
    return [f"({part!r}, {code[part]}, {used!r})" for part, used in chosen.items() if used]


def _changed(params: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from scikit-learn's defaults."""
    return {name: value for name, value in params.items() if value != defaults[name]}
