"""Scores a candidate and what it is to replace on the same held-out rows, for the gate.

The rows are those that the candidate's table holds out. By the rows' hash an incumbent of the same
columns was not trained on them either, whatever its table held; where that is not known, it is
said, and counts in the incumbent's favour.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.dataset import Dataset, load_again
from search.data.holdout import repeated_rows
from search.errors import DataError, StudyError
from search.forest.growing import champion_seed, fit_forest, make_forest
from search.forest.metrics import METRICS, Metric
from search.model.champion import predict
from search.model.serialization import LoadedModel
from search.promotion.gate import (
    Comparison,
    Verdict,
    beats,
    compare,
    judge,
    misses,
    read_requirement,
)
from storage.records import Judgement

Array = NDArray[Any]

_DEFAULT_TREES = 100
# Of a verdict on record.
_LENGTH = 1000


@dataclass(frozen=True)
class Rules:
    """What the gate asks for.

    Attributes
    ----------
    tolerance
        By how much a candidate may be worse, as a share of the incumbent's score.
    strict
        Whether it must be shown to be better.
    required
        Bounds on its scores, each as ``METRIC=VALUE``.
    """

    tolerance: float = 0.0
    strict: bool = False
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assessment:
    """What the gate found, and what is to be said besides."""

    passed: bool
    judgement: Judgement
    remarks: tuple[str, ...]


def assess(
    candidate: LoadedModel,
    incumbent: LoadedModel | None,
    rules: Rules,
    data: str | None = None,
    query: str | None = None,
) -> Assessment:
    """Judge a candidate against an incumbent; without one, against a constant forecast.

    Parameters
    ----------
    data, query
        Where the candidate's table stands now, if not where its study found it.

    Raises
    ------
    UsageError
        When a required metric is unknown.
    StudyError
        When the two cannot be judged: no rows were held out, the table is another one now.
    """
    required = [read_requirement(text, candidate.provenance.data.task) for text in rules.required]
    share, remarks = _share(candidate, incumbent)
    dataset = _held_out(candidate, share, data, query)
    metric = METRICS[candidate.provenance.metric]
    forecast = predict(candidate.pipeline, dataset.held_out_features, dataset.task)
    if incumbent is None:
        other = _constant(dataset, metric)
        comparison = _compare(dataset, metric, forecast, other)
        verdict = beats(comparison)
        default = _score(dataset, metric, _default_forest(dataset, candidate.provenance.seed))
        remarks += (f"scikit-learn's default forest: {metric.name} {default:.5g}",)
    else:
        other = _forecast(incumbent, dataset)
        comparison = _compare(dataset, metric, forecast, other)
        verdict = judge(comparison, rules.tolerance, strict=rules.strict)
    missed = [
        text
        for needed, bound in required
        if (text := misses(needed, bound, _score(dataset, needed, forecast))) is not None
    ]
    if missed:
        verdict = Verdict(passed=False, text="; ".join([*missed, verdict.text]))
    return Assessment(verdict.passed, _judgement(comparison, verdict), remarks)


def _judgement(comparison: Comparison, verdict: Verdict) -> Judgement:
    low, high = comparison.low, comparison.high
    return Judgement(
        verdict=verdict.text[:_LENGTH],
        metric=comparison.metric.name,
        candidate=comparison.candidate,
        incumbent=comparison.incumbent,
        interval=None if np.isnan(low) else (low, high),
        rows=comparison.rows,
    )


def _share(candidate: LoadedModel, incumbent: LoadedModel | None) -> tuple[float, tuple[str, ...]]:
    """Return the share of the candidate's rows that neither was trained on, and what to say."""
    mine = candidate.provenance.data
    if not mine.holdout:
        raise StudyError(
            f"{candidate.version.title} was trained on every row (--holdout 0): there is nothing "
            "to judge it by; launch a study with a hold-out"
        )
    if incumbent is None:
        return mine.holdout, ()
    theirs = incumbent.provenance.data
    if (theirs.target, theirs.task) != (mine.target, mine.task):
        raise StudyError(
            f"{incumbent.version.title} predicts '{theirs.target}' ({theirs.task}), not "
            f"'{mine.target}' ({mine.task}): the two cannot be compared"
        )
    if not theirs.holdout:
        raise StudyError(
            f"{incumbent.version.title}, which is to be replaced, was trained on every row "
            "(--holdout 0): no row could judge both"
        )
    by_hash = mine.time is None and set(_features(incumbent)) == set(_features(candidate))
    # Hold-outs by hash are nested, whatever else the tables hold; the last times are so in one.
    if theirs.roles == mine.roles and (theirs.digest == mine.digest or by_hash):
        return min(mine.holdout, theirs.holdout), ()
    return mine.holdout, (
        f"it is not known whether {incumbent.version.title} was trained on some of these rows: "
        "its table was another one",
    )


def _held_out(candidate: LoadedModel, share: float, data: str | None, query: str | None) -> Dataset:
    about = candidate.provenance.data
    try:
        dataset = load_again(about.model_copy(update={"holdout": share}), data, query)
    except DataError as error:
        raise StudyError(
            f"{candidate.version.title} cannot be judged: {error}. If its table stands elsewhere "
            "now, name it with --data"
        ) from error
    found = dataset.description
    if found.digest != about.digest:
        raise StudyError(
            f"{found.source} is not the table that {candidate.version.title} learned from "
            f"(digest {found.digest[:12]}, was {about.digest[:12]}): name that one with --data, "
            "or launch a study on the table as it is now"
        )
    return dataset


def _forecast(incumbent: LoadedModel, dataset: Dataset) -> Array:
    """Predict the candidate's rows by the incumbent."""
    columns = _features(incumbent)
    missing = [name for name in columns if name not in dataset.held_out_features.columns]
    if missing:
        raise StudyError(
            f"{incumbent.version.title} needs the column '{missing[0]}', which the candidate's "
            "table has not: the two cannot be compared"
        )
    if dataset.classes is not None and list(incumbent.pipeline.classes_) != list(dataset.classes):
        raise StudyError(
            f"{incumbent.version.title} knows other classes than the candidate: the two cannot be "
            "compared"
        )
    return predict(incumbent.pipeline, dataset.held_out_features[columns], dataset.task)


def _compare(dataset: Dataset, metric: Metric, candidate: Array, incumbent: Array) -> Comparison:
    weights = dataset.held_out_roles.weights
    return compare(metric, dataset.held_out_y, candidate, incumbent, weights, _units(dataset))


def _units(dataset: Dataset) -> Array | None:
    """Number the rows that are drawn together: of a group, of a stretch of time, or equal rows."""
    roles = dataset.held_out_roles
    if roles.groups is not None:
        return roles.groups
    if roles.times is not None:  # blocks of n^(1/3) neighbours (Carlstein 1986), of whole moments
        n_moments = int(roles.times.max()) + 1
        return np.asarray(roles.times // int(np.ceil(n_moments ** (1 / 3))))
    return repeated_rows(dataset.held_out_features)


def _score(dataset: Dataset, metric: Metric, forecast: Array) -> float:
    weights = dataset.held_out_roles.weights
    return float(metric.from_predictions(dataset.held_out_y, forecast, weights))


def _constant(dataset: Dataset, metric: Metric) -> Array:
    """Forecast the class shares for every row, or the mean or median, whichever trains better."""
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
    """Predict by scikit-learn's default forest, grown on the same training rows."""
    forest = make_forest({}, dataset.n_classes, _DEFAULT_TREES, champion_seed(seed), jobs=-1)
    fit_forest(forest, dataset.X, dataset.labels, dataset.weights)
    return predict(forest, dataset.vectorizer.transform(dataset.held_out_features), dataset.task)


def _features(loaded: LoadedModel) -> list[str]:
    """Columns that a version takes, sorted as it had them."""
    return [str(name) for name in loaded.pipeline.named_steps["table"].feature_names_in_]
