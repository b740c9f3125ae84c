import subprocess
import sys
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from search.errors import UsageError
from search.forest.metrics import (
    EXCLUDED,
    METRICS,
    Metric,
    check_metric,
    evaluate,
    get_metric,
    names_for,
)
from search.forest.scorers import brier_errors
from search.types import Task

Array = NDArray[Any]
Sample = tuple[Array, Array, Array]  # y, p, weights
TASKS: list[Task] = ["regression", "classification"]
SQUARED = {"rmse", "mse", "r2", "brier", "d2_brier_score"}
TWO_CLASSES_ONLY = {"positive_likelihood_ratio", "negative_likelihood_ratio"}
MORE_CLASSES_ONLY = {"top_k_accuracy"}
# Scorers that take no row weights.
UNWEIGHTED = {
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "max_error",
    "mutual_info_score",
    "negative_likelihood_ratio",
    "normalized_mutual_info_score",
    "positive_likelihood_ratio",
    "rand_score",
    "v_measure_score",
}

pairs = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=30
).filter(lambda rows: np.var([y for y, _ in rows]) > 1e-6)


class Values(RegressorMixin, BaseEstimator):
    def __init__(self, p: Any) -> None:
        self.p = p

    def predict(self, X: Any) -> Any:
        return self.p[X[:, 0]]


class Probabilities(ClassifierMixin, BaseEstimator):
    def __init__(self, p: Any) -> None:
        self.p = p
        self.classes_ = np.arange(p.shape[1])

    def predict(self, X: Any) -> Any:
        return self.p[X[:, 0]].argmax(axis=1)

    def predict_proba(self, X: Any) -> Any:
        return self.p[X[:, 0]]


def values(seed: int, n_rows: int = 60) -> Sample:
    """Return positive values, predictions and integer weights, some of them 0."""
    random = np.random.default_rng(seed)
    y = random.gamma(2.0, size=n_rows) + 0.1
    return y, y * random.uniform(0.5, 1.5, n_rows), random.integers(0, 4, n_rows).astype(float)


def probabilities(seed: int, n_classes: int, n_rows: int = 60) -> Sample:
    """Return all classes, probabilities as of few trees, and integer weights."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(n_rows) % n_classes)
    p = random.multinomial(8, np.ones(n_classes) / n_classes, n_rows) + 4 * np.eye(n_classes)[y]
    weights = random.integers(0, 4, n_rows).astype(float)
    weights[np.unique(y, return_index=True)[1]] = 2.0
    return y, p / p.sum(axis=1, keepdims=True), weights


def sample_for(metric: Metric, seed: int = 0) -> Sample:
    if metric.task == "regression":
        return values(seed)
    return probabilities(seed, 3 if metric.name in MORE_CLASSES_ONLY else 2)


def sklearn_reference(name: str, y: Array, p: Array, weights: Array | None = None) -> float:
    """Score with scikit-learn; the plain names mean macro averages if there are more classes."""
    if "log_loss" in name:
        p = (p * 100 + 1 / p.shape[1]) / 101
    if p.ndim > 1 and p.shape[1] > 2:
        plain = {name: f"{name}_macro" for name in ("f1", "jaccard", "precision", "recall")}
        name = (plain | {"roc_auc": "roc_auc_ovr"}).get(name, name)
    stand_in = Values(p) if p.ndim == 1 else Probabilities(p)
    rows = np.arange(len(y))[:, None]
    value = reference.get_scorer(name)(stand_in, rows, y, sample_weight=weights)
    return abs(value) if name.startswith("neg_") else value


def metric_of(scorer: str) -> Metric:
    for task in TASKS:
        with suppress(UsageError):
            return get_metric(scorer, task)
    raise AssertionError(f"{scorer} fits no task")


@pytest.mark.parametrize("scorer", reference.get_scorer_names())
def test_every_scorer_of_scikit_learn_is_available_or_refused_with_a_reason(scorer: str) -> None:
    if scorer in EXCLUDED:
        for task in TASKS:
            with pytest.raises(UsageError, match="each row has one class"):
                get_metric(scorer, task)
        return
    metric = metric_of(scorer)
    assert metric.direction == ("minimize" if scorer.startswith("neg_") else "maximize")
    assert METRICS[metric.name] is metric
    several = (2, 4) if metric.task == "classification" else (0,)
    for n_classes in several:
        y, p, weights = probabilities(1, n_classes) if n_classes else values(1)
        if metric.name in (TWO_CLASSES_ONLY if n_classes > 2 else MORE_CLASSES_ONLY):
            with pytest.raises(UsageError, match=r"not defined on this target \(scikit-learn: "):
                check_metric(metric, y, n_classes)
            continue
        check_metric(metric, y, n_classes)
        score = metric.from_predictions(y, p, None)
        assert score == pytest.approx(sklearn_reference(scorer, y, p))
        if metric.name in UNWEIGHTED or ("roc_auc_ovo" in scorer and n_classes > 2):
            with pytest.raises(UsageError, match="does not work with these row weights"):
                check_metric(metric, y, n_classes, weights)
            continue
        check_metric(metric, y, n_classes, weights)
        score = metric.from_predictions(y, p, weights)
        assert score == pytest.approx(sklearn_reference(scorer, y, p, weights))


def test_every_metric_is_a_scorer_of_scikit_learn() -> None:
    found = {metric_of(name).name for name in reference.get_scorer_names() if name not in EXCLUDED}
    assert set(METRICS) == found
    assert len(METRICS) == len(reference.get_scorer_names()) - len(EXCLUDED)
    assert set(EXCLUDED) <= set(reference.get_scorer_names())
    assert not any(name.startswith("neg_") for name in METRICS)


@given(st.sampled_from(sorted(METRICS)), st.integers(0, 1000))
def test_equal_weights_and_row_order_do_not_change_a_score(name: str, seed: int) -> None:
    metric = METRICS[name]
    y, p, _ = sample_for(metric, seed)
    score = metric.from_predictions(y, p, None)
    order = np.random.default_rng(seed).permutation(len(y))
    assert metric.from_predictions(y[order], p[order], None) == pytest.approx(score, abs=1e-12)
    if name not in UNWEIGHTED:
        ones = np.ones(len(y))
        assert metric.from_predictions(y, p, ones) == pytest.approx(score, abs=1e-12)


@given(st.sampled_from(sorted(set(METRICS) - UNWEIGHTED)), st.integers(0, 1000))
def test_integer_weights_equal_repeated_rows(name: str, seed: int) -> None:
    metric = METRICS[name]
    y, p, weights = sample_for(metric, seed)
    again = np.repeat(np.arange(len(y)), weights.astype(int))
    expected = pytest.approx(metric.from_predictions(y[again], p[again], None), abs=1e-12)
    assert metric.from_predictions(y, p, weights) == expected
    assert metric.from_predictions(y, p, weights * 0.5) == expected
    if metric.from_squared_errors is not None:
        errors = (y - p) ** 2 if metric.task == "regression" else brier_errors(y, p)
        assert (
            metric.from_squared_errors(errors, y, weights, 0 if p.ndim == 1 else p.shape[1])
            == expected
        )


def test_exactly_the_metrics_of_squared_errors_have_an_infinite_forest_form() -> None:
    assert {
        name for name, metric in METRICS.items() if metric.from_squared_errors is not None
    } == SQUARED


@pytest.mark.parametrize("name", sorted(SQUARED))
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_from_squared_errors_equal_scores_from_predictions(
    name: str, n_classes: int
) -> None:
    metric = METRICS[name]
    regression = metric.task == "regression"
    y, p, weights = values(3) if regression else probabilities(3, n_classes)
    errors = (y - p) ** 2 if regression else brier_errors(y, p)
    assert metric.from_squared_errors is not None
    for each in (None, weights):
        expected = metric.from_predictions(y, p, each)
        assert metric.from_squared_errors(errors, y, each, n_classes) == pytest.approx(expected)


def test_brier_skill_score_has_the_same_scale_if_a_class_is_missing() -> None:
    y, p, _ = probabilities(3, 3)
    for missing in range(3):
        chosen = y != missing
        expected = reference.d2_brier_score(y[chosen], p[chosen], labels=[0, 1, 2])
        assert METRICS["d2_brier_score"].from_predictions(y[chosen], p[chosen], None) == (
            pytest.approx(expected)
        )


@given(pairs)
def test_regression_scores_equal_scikit_learns(rows: list[tuple[float, float]]) -> None:
    y, p = np.array(rows).T
    scores = evaluate(METRICS["rmse"], y, p)
    assert scores["rmse"] == pytest.approx(reference.root_mean_squared_error(y, p))
    assert scores["mse"] == pytest.approx(reference.mean_squared_error(y, p))
    assert scores["mae"] == pytest.approx(reference.mean_absolute_error(y, p))
    assert scores["r2"] == pytest.approx(reference.r2_score(y, p), rel=1e-6, abs=1e-6)


def test_log_loss_of_a_certain_but_wrong_prediction_is_finite() -> None:
    y, p = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert np.isfinite(METRICS["log_loss"].from_predictions(y, p, None))
    assert METRICS["log_loss"].guide == "brier"
    for metric in METRICS.values():
        if metric.guide is not None:
            assert METRICS[metric.guide].direction == metric.direction


def test_poisson_deviance_of_predictions_of_zero_is_finite() -> None:
    y, p = np.array([0.0, 0.0, 3.0, 7.0]), np.array([0.0, 1.0, 0.0, 7.0])
    deviance = METRICS["mean_poisson_deviance"].from_predictions(y, p, None)
    assert deviance == pytest.approx(
        reference.mean_poisson_deviance(y, [2.5 / 101, 1, 2.5 / 101, 7])
    )


def test_each_task_has_a_default_metric() -> None:
    assert get_metric(None, "regression").name == names_for("regression")[0] == "rmse"
    assert get_metric(None, "classification").name == names_for("classification")[0] == "brier"


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("RMSE", "rmse"),
        ("neg_rmse", "rmse"),
        ("root_mean_squared_error", "rmse"),
        ("neg_root_mean_squared_error", "rmse"),
        ("neg_mean_gamma_deviance", "mean_gamma_deviance"),
        ("r2_score", "r2"),
        ("explained_variance_score", "explained_variance"),
        ("mape", "mean_absolute_percentage_error"),
        ("medae", "median_absolute_error"),
        ("rmsle", "root_mean_squared_log_error"),
        ("msle", "mean_squared_log_error"),
        ("brier_score_loss", "brier"),
        ("neg_brier_score", "brier"),
        ("d2_brier", "d2_brier_score"),
        ("logloss", "log_loss"),
        ("log-loss", "log_loss"),
        ("mcc", "matthews_corrcoef"),
        ("auc", "roc_auc"),
        ("ROC-AUC", "roc_auc"),
        ("ap", "average_precision"),
        ("balanced_acc", "balanced_accuracy"),
        ("neg_negative_likelihood_ratio", "negative_likelihood_ratio"),
        ("rand", "rand_score"),
    ],
)
def test_metrics_are_found_by_common_names(typed: str, canonical: str) -> None:
    assert metric_of(typed).name == canonical


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsme", "did you mean 'rmse'?): for regression there are rmse, mse, mae, r2"),
        ("mean_gama_deviance", "did you mean 'mean_gamma_deviance'?): for regression"),
        ("neg_median_absolut_error", "did you mean 'median_absolute_error'?): for regression"),
        ("balancd_accuracy", "did you mean 'balanced_accuracy'?): for regression"),
        ("accuracy", "does not fit regression"),
        ("neg_log_loss", "does not fit regression"),
        ("neg_r2", "is unknown"),
        ("nothing_like_it", "is unknown: for regression"),
        ("f1_samples", "cannot be used: it averages over several labels per row"),
    ],
)
def test_errors_for_unknown_or_unfit_metrics_list_the_fitting_names(
    name: str, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        get_metric(name, "regression")
    assert message in str(error.value)
    assert all(fitting in str(error.value) for fitting in names_for("regression"))


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("msle", [-2.0, 1.0, 3.0], "less than or equal to -1"),
        ("gamma_deviance", [0.0, 1.0, 3.0], "strictly positive y and y_pred"),
        ("poisson_deviance", [-1.0, 1.0, 3.0], "non-negative y"),
        ("r2", [1.0, 1.0, 1.0], "it is nan if all rows get the same prediction"),
    ],
)
def test_a_metric_that_is_not_defined_on_the_target_is_refused_with_a_reason(
    name: str, y: list[float], message: str
) -> None:
    metric = get_metric(name, "regression")
    with pytest.raises(UsageError, match="choose another: for regression there are") as error:
        check_metric(metric, np.array(y), 0)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_evaluate_computes_the_main_metrics_that_are_defined_and_the_requested_one() -> None:
    y, p, weights = probabilities(0, 3)
    mcc = get_metric("mcc", "classification")
    scores = evaluate(mcc, y, p, weights)
    assert list(scores) == [*names_for("classification"), "matthews_corrcoef"]
    assert scores["accuracy"] == reference.accuracy_score(y, p.argmax(1), sample_weight=weights)
    alone = np.zeros(len(y), dtype=int)
    assert "roc_auc" not in evaluate(mcc, alone, p[:, :2] + p[:, 2:] / 2)


def test_evaluate_omits_scores_if_all_weights_are_zero() -> None:
    for task, (y, p, _) in zip(TASKS, (values(0), probabilities(0, 2)), strict=True):
        scores = evaluate(get_metric(None, task), y, p, np.zeros(len(y)))
        assert not scores.keys() - {"f1"}  # scikit-learn defines it as 0


def test_a_class_that_is_missing_from_the_rows_is_not_an_error() -> None:
    y, p, _ = probabilities(0, 3)
    y[y == 2] = 1
    scores = evaluate(METRICS["average_precision"], y, p)
    assert scores.keys() >= {"brier", "log_loss", "accuracy", "balanced_accuracy", "f1"}
    assert "average_precision" not in scores


def test_scikit_learn_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from search.forest.metrics import METRICS, get_metric; "
        "get_metric('mse', 'regression'); METRICS.get('log_loss'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("n_rows", "n_classes"), [(60_000, 6000), (1_000_000, 900)])
def test_checking_a_metric_needs_little_memory(n_rows: int, n_classes: int) -> None:
    y = np.arange(n_rows) % n_classes
    tracemalloc.start()
    check_metric(get_metric("brier", "classification"), y, n_classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("f1", reference.f1_score),
        ("precision", reference.precision_score),
        ("recall", reference.recall_score),
        ("jaccard", reference.jaccard_score),
    ],
)
def test_scores_of_another_positive_class_are_scikit_learns(name: str, score: Any) -> None:
    y, p, weights = probabilities(0, 2)
    for positive in (0, 1):
        metric = METRICS[name].with_positive(positive)
        expected = score(y, p.argmax(axis=1), pos_label=positive, sample_weight=weights)
        assert metric.from_predictions(y, p, weights) == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].task != "regression"])
def test_the_positive_class_matters_only_if_the_score_is_about_one_class(name: str) -> None:
    y, p, _ = probabilities(1, 2)
    if name in MORE_CLASSES_ONLY:
        return
    first, last = (
        METRICS[name].with_positive(positive).from_predictions(y, p, None) for positive in (0, 1)
    )
    about_one = {"average_precision", "f1", "jaccard", "precision", "recall", *TWO_CLASSES_ONLY}
    assert (first == pytest.approx(last)) == (name not in about_one)
