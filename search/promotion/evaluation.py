"""Scores a candidate and the incumbent on the same held-out rows and applies the gate.

The rows are those that the candidate's table holds out. Because rows are held out by their hash, an
incumbent with the same columns was not trained on them either, even if its table had other rows. If
that is not certain, a remark says so; training on these rows would favour the incumbent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.dataset import Dataset, load_again
from search.data.holdout import duplicate_codes
from search.errors import DataError, StudyError
from search.forest.fitting import champion_seed, fit_forest, make_forest
from search.forest.metrics import METRICS, Metric
from search.model.champion import predict
from search.model.serialization import LoadedModel
from search.promotion.gate import (
    Comparison,
    Verdict,
    compare,
    judge,
    judge_against_constant,
    parse_requirement,
    unmet_requirement,
)
from storage.records import Judgement

Array = NDArray[Any]

# Trees of scikit-learn's default forest.
_DEFAULT_TREES = 100
# Characters of a recorded verdict.
_MAX_VERDICT_LENGTH = 1000


@dataclass(frozen=True)
class Criteria:
    """Criteria of the gate.

    Attributes
    ----------
    tolerance
        By how much a candidate may be worse, as a fraction of the incumbent's score.
    strict
        Whether a candidate must be shown to be better.
    required
        Bounds on the candidate's scores, each as ``METRIC=VALUE``.
    """

    tolerance: float = 0.0
    strict: bool = False
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """The gate's result.

    Attributes
    ----------
    passed
        Whether the candidate may be promoted.
    judgement
        The scores and the verdict, for the model's history.
    remarks
        Further messages for the user.
    """

    passed: bool
    judgement: Judgement
    remarks: tuple[str, ...]


def evaluate_candidate(
    candidate: LoadedModel,
    incumbent: LoadedModel | None,
    criteria: Criteria,
    data: str | None = None,
    query: str | None = None,
) -> Evaluation:
    """Judge a candidate against the incumbent, or against a constant forecast if there is none.

    Parameters
    ----------
    data, query
        Where the candidate's table is now, if it was moved since its study.

    Raises
    ------
    UsageError
        If a required metric is unknown.
    StudyError
        If the two cannot be compared, for example because no rows were held out or the table has
        changed.
    """
    task = candidate.provenance.data.task
    requirements = [parse_requirement(text, task) for text in criteria.required]
    holdout, remarks = _common_holdout(candidate, incumbent)
    dataset = _load_held_out(candidate, holdout, data, query)
    metric = METRICS[candidate.provenance.metric].with_positive(dataset.positive)
    required = [(needed.with_positive(dataset.positive), bound) for needed, bound in requirements]
    forecast = predict(candidate.pipeline, dataset.held_out_features, dataset.task)
    if incumbent is None:
        comparison = _compare(dataset, metric, forecast, _constant_forecast(dataset, metric))
        verdict = judge_against_constant(comparison)
        default = _score(dataset, metric, _default_forest(dataset, candidate.provenance.seed))
        remarks += (f"scikit-learn's default forest: {metric.name} {default:.5g}",)
    else:
        comparison = _compare(dataset, metric, forecast, _predict_incumbent(incumbent, dataset))
        verdict = judge(comparison, criteria.tolerance, strict=criteria.strict)
    unmet = [
        text
        for needed, bound in required
        if (text := unmet_requirement(needed, bound, _score(dataset, needed, forecast))) is not None
    ]
    if unmet:
        verdict = Verdict(passed=False, text="; ".join([*unmet, verdict.text]))
    return Evaluation(verdict.passed, _judgement(comparison, verdict), remarks)


def _judgement(comparison: Comparison, verdict: Verdict) -> Judgement:
    low, high = comparison.low, comparison.high
    return Judgement(
        verdict=verdict.text[:_MAX_VERDICT_LENGTH],
        metric=comparison.metric.name,
        candidate=comparison.candidate,
        incumbent=comparison.incumbent,
        interval=None if np.isnan(low) else (low, high),
        rows=comparison.rows,
    )


def _common_holdout(
    candidate: LoadedModel, incumbent: LoadedModel | None
) -> tuple[float, tuple[str, ...]]:
    """Return the fraction of rows held out from both models, and remarks for the user."""
    data = candidate.provenance.data
    if not data.holdout:
        raise StudyError(
            f"{candidate.version.title} was trained on every row (--holdout 0), so it cannot be "
            "judged: launch a study with a hold-out"
        )
    if incumbent is None:
        return data.holdout, ()
    other = incumbent.provenance.data
    if (other.target, other.task) != (data.target, data.task):
        raise StudyError(
            f"{incumbent.version.title} predicts '{other.target}' ({other.task}), not "
            f"'{data.target}' ({data.task}): the two cannot be compared"
        )
    if not other.holdout:
        raise StudyError(
            f"{incumbent.version.title}, the version to be replaced, was trained on every row "
            "(--holdout 0): there are no rows to compare the two on"
        )
    by_hash = data.time is None and set(_features(incumbent)) == set(_features(candidate))
    # Hold-outs by hash are nested even if the tables have different rows, but not if other columns
    # are dropped. Hold-outs by time are nested within the same table only.
    same_table = other.digest == data.digest and other.drop == data.drop
    if other.roles == data.roles and (same_table or by_hash):
        return min(data.holdout, other.holdout), ()
    return data.holdout, (
        f"it is not known whether {incumbent.version.title} was trained on some of these rows, "
        "because it was trained on another table or on other columns",
    )


def _load_held_out(
    candidate: LoadedModel, holdout: float, data: str | None, query: str | None
) -> Dataset:
    """Load the candidate's table, with this fraction of its rows held out."""
    description = candidate.provenance.data
    try:
        dataset = load_again(description.model_copy(update={"holdout": holdout}), data, query)
    except DataError as error:
        raise StudyError(
            f"{candidate.version.title} cannot be judged: {error}. If its table was moved, name it "
            "with --data"
        ) from error
    found = dataset.description
    if found.digest != description.digest:
        raise StudyError(
            f"{found.source} is not the table that {candidate.version.title} was trained on "
            f"(digest {found.digest[:12]}, was {description.digest[:12]}): name that table with "
            "--data, or launch a study on the current table"
        )
    return dataset


def _predict_incumbent(incumbent: LoadedModel, dataset: Dataset) -> Array:
    """Predict the candidate's held-out rows with the incumbent."""
    columns, rows = _features(incumbent), dataset.held_out_rows
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise StudyError(
            f"{incumbent.version.title} needs the column '{missing[0]}', which is not in the "
            "candidate's table: the two cannot be compared"
        )
    if dataset.classes is not None and list(incumbent.pipeline.classes_) != list(dataset.classes):
        raise StudyError(
            f"{incumbent.version.title} predicts other classes than the candidate: the two cannot "
            "be compared"
        )
    try:
        read = incumbent.reader.read(rows[columns])
    except ValueError as error:
        raise StudyError(
            f"{incumbent.version.title} cannot read the candidate's table ({error}): the two "
            "cannot be compared"
        ) from None
    return predict(incumbent.pipeline, read, dataset.task)


def _compare(dataset: Dataset, metric: Metric, candidate: Array, incumbent: Array) -> Comparison:
    weights = dataset.held_out_roles.weights
    return compare(metric, dataset.held_out_y, candidate, incumbent, weights, _units(dataset))


def _units(dataset: Dataset) -> Array | None:
    """Return the unit of each held-out row: its group, its block in time, or its equal rows."""
    roles = dataset.held_out_roles
    if roles.groups is not None:
        return roles.groups
    if roles.times is not None:
        # Blocks of n^(1/3) consecutive times, of n different times (Carlstein 1986).
        n_times = int(roles.times.max()) + 1
        return np.asarray(roles.times // int(np.ceil(n_times ** (1 / 3))))
    return duplicate_codes(dataset.held_out_features)


def _score(dataset: Dataset, metric: Metric, forecast: Array) -> float:
    weights = dataset.held_out_roles.weights
    return float(metric.from_predictions(dataset.held_out_y, forecast, weights))


def _constant_forecast(dataset: Dataset, metric: Metric) -> Array:
    """Return the same forecast for every held-out row, in the shape of other forecasts.

    For classification these are the class frequencies of the training rows, for regression the mean
    or the median of their targets, whichever scores better on the training rows.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    y, weights = dataset.y, dataset.weights
    # The forecasts do not depend on the features.
    rows, held_out = np.zeros((len(y), 1)), np.zeros((len(dataset.held_out_y), 1))
    if dataset.classes is not None:
        prior = DummyClassifier(strategy="prior").fit(rows, y, weights)
        return np.asarray(prior.predict_proba(held_out))
    sign = -1 if metric.direction == "maximize" else 1
    constants = [
        DummyRegressor(strategy=strategy).fit(rows, y, weights) for strategy in ("mean", "median")
    ]
    best = min(
        constants, key=lambda dummy: sign * metric.from_predictions(y, dummy.predict(rows), weights)
    )
    return np.asarray(best.predict(held_out))


def _default_forest(dataset: Dataset, seed: int) -> Array:
    """Predict the held-out rows with scikit-learn's default forest, fitted on the training rows."""
    forest = make_forest({}, dataset.n_classes, _DEFAULT_TREES, champion_seed(seed), jobs=-1)
    encoded = dataset.encode()
    fit_forest(forest, encoded.X, dataset.labels, dataset.weights)
    return predict(forest, encoded.transform(dataset.held_out_features), dataset.task)


def _features(loaded: LoadedModel) -> list[str]:
    """Return the columns that a version was trained on, in their order."""
    table = loaded.pipeline.named_steps["table"]
    # A table of numbers has only a selection of columns.
    names = getattr(table, "feature_names_in_", None)
    return [str(name) for name in (table.get_feature_names_out() if names is None else names)]
