"""Computes scores from predictions and row weights.

Metrics that are computed at every rung are plain numpy. All others call scikit-learn's scorers with
a stand-in estimator that returns the given predictions, so that the sign, the response method and
the positive class are scikit-learn's.

Throughout this module, y has shape (n,) and holds values or class indices; p has shape (n,), or
(n, n_classes) for probabilities; weights are row weights of shape (n,), or None. A score that is
not defined on the rows is not a finite number.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# f(y, p, weights)
Score = Callable[[Array, Array, Array | None], float]
# f(squared errors, y, weights, number of classes or 0 for values)
SquaresScore = Callable[[Array, Array, Array | None, int], float]


def weighted_mean(values: Array, weights: Array | None = None) -> float:
    """Weighted mean; NaN if there are no values or no weight."""
    total = len(values) if weights is None else weights.sum()
    if not total:
        return float("nan")
    return float(values.mean() if weights is None else values @ weights / total)


def class_frequencies(y: Array, n_classes: int, weights: Array | None = None) -> Array:
    """Weighted relative frequency of each class, shape (n_classes,)."""
    counts = np.bincount(y, weights, minlength=n_classes)
    return np.asarray(counts / (counts.sum() or np.nan))


def _skill(loss: float, reference_loss: float) -> float:
    """Skill score, 1 - loss / reference_loss; NaN if the reference has no loss."""
    return 1.0 - loss / reference_loss if reference_loss else float("nan")


def mse(errors: Array, _y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Mean of squared errors."""
    return weighted_mean(errors, weights)


def rmse(errors: Array, _y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Root of the mean of squared errors."""
    # The infinite forest's estimated error can be slightly negative if it is close to 0.
    return float(np.sqrt(np.maximum(weighted_mean(errors, weights), 0.0)))


def r2(errors: Array, y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Explained share of the variance of y; NaN if y is constant."""
    variance = weighted_mean((y - weighted_mean(y, weights)) ** 2, weights)
    return _skill(weighted_mean(errors, weights), variance)


def from_values(squares: SquaresScore, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a score of squared errors from predicted values."""
    return squares((y - p) ** 2, y, weights, 0)


def mae(y: Array, p: Array, weights: Array | None = None) -> float:
    """Mean of absolute errors."""
    return weighted_mean(np.abs(y - p), weights)


def poisson_deviance(y: Array, p: Array, weights: Array | None = None) -> float:
    """scikit-learn's mean Poisson deviance of max(p, mean(y) / 101).

    scikit-learn rejects predictions of 0, which a finite forest makes wherever its trees have seen
    only zeros. As in `log_loss`, one observation in 101 represents what the trees have not seen.
    Larger predictions are not changed.
    """
    raised = np.maximum(p, weighted_mean(y, weights) / 101)
    return sklearn_metric("neg_mean_poisson_deviance", y, raised, weights)


def brier_scale(n_classes: int) -> float:
    """Factor of the squared distance in scikit-learn's Brier score: 0.5 for two classes, else 1."""
    return 1.0 if n_classes > 2 else 0.5  # noqa: PLR2004


def brier_errors(y: Array, p: Array) -> Array:
    """Squared distance between probabilities and true class, scaled as in scikit-learn.

    The squares are summed over the classes and multiplied by `brier_scale`.

    Returns
    -------
    array of shape (n,)
    """
    distances = ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)
    return np.asarray(distances * brier_scale(p.shape[1]))


def brier(y: Array, p: Array, weights: Array | None = None) -> float:
    """Brier score: the mean of `brier_errors`."""
    return weighted_mean(brier_errors(y, p), weights)


def d2_brier(errors: Array, y: Array, weights: Array | None = None, n_classes: int = 2) -> float:
    """Brier skill score against the class frequencies, from `brier_errors`."""
    # Predicting the frequencies q for every row has a mean squared distance of 1 - sum(q^2).
    reference = 1.0 - float((class_frequencies(y, 0, weights) ** 2).sum())
    return _skill(weighted_mean(errors, weights), reference * brier_scale(n_classes))


def from_probabilities(
    squares: SquaresScore, y: Array, p: Array, weights: Array | None = None
) -> float:
    """Compute a score of squared errors from predicted probabilities."""
    return squares(brier_errors(y, p), y, weights, p.shape[1])


def log_loss(y: Array, p: Array, weights: Array | None = None) -> float:
    """Log loss of the smoothed probabilities (100 p + 1/K) / 101, with K classes.

    Smoothing treats p as the result of 100 votes and adds one vote that is spread evenly over the
    classes. It keeps the loss finite: a class without votes is not impossible, because a forest has
    finitely many trees.
    """
    smoothed = (p * 100 + 1 / p.shape[1]) / 101
    return -weighted_mean(np.log(smoothed[np.arange(len(y)), y]), weights)


def d2_log_loss(y: Array, p: Array, weights: Array | None = None) -> float:
    """Skill score of the smoothed `log_loss` against the class frequencies."""
    q = class_frequencies(y, 0, weights)
    q = q[q > 0]
    return _skill(log_loss(y, p, weights), -float(q @ np.log(q)))


def accuracy(y: Array, p: Array, weights: Array | None = None) -> float:
    """Share of the rows whose class has the highest probability."""
    return weighted_mean(p.argmax(axis=1) == y, weights)


def balanced_accuracy(y: Array, p: Array, weights: Array | None = None) -> float:
    """Mean recall over the classes that are present in y."""
    right = (p.argmax(axis=1) == y).astype(float)
    total = np.bincount(y, weights)
    found = np.bincount(y, right if weights is None else right * weights)
    return weighted_mean(found[total > 0] / total[total > 0])


def f1(y: Array, p: Array, weights: Array | None = None) -> float:
    """F1 of the second of two classes; macro average over the present classes if there are more."""
    n_classes, predicted = p.shape[1], p.argmax(axis=1)
    n_true = np.bincount(y, weights, n_classes)
    n_predicted = np.bincount(predicted, weights, n_classes)
    hit = predicted == y
    n_right = np.bincount(y, hit if weights is None else hit * weights, n_classes)
    present = n_true + n_predicted > 0
    scores = 2 * n_right[present] / (n_true + n_predicted)[present]
    if _is_multiclass(p):
        return weighted_mean(scores)
    return float(scores[-1]) if present[1] else 0.0


def roc_auc(y: Array, p: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve; for more than two classes the mean of one-versus-rest areas."""
    if not _is_multiclass(p):
        return _area(y == 1, p[:, 1], weights)
    return float(np.mean([_area(y == k, p[:, k], weights) for k in range(p.shape[1])]))


def _area(positive: Array, p: Array, weights: Array | None) -> float:
    """Probability that a positive row ranks above a negative one; ties count half."""
    w = np.ones(len(p)) if weights is None else weights
    rank = np.unique(p, return_inverse=True)[1]
    positives, negatives = np.bincount(rank, w * positive), np.bincount(rank, w * ~positive)
    pairs = positives.sum() * negatives.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)


# Scorers whose plain name requires two classes, and the scorer to use for more classes.
_MULTICLASS_NAMES = {
    "f1": "f1_macro",
    "jaccard": "jaccard_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "roc_auc": "roc_auc_ovr",
}


def _is_multiclass(p: Array) -> bool:
    return p.ndim > 1 and p.shape[1] > 2  # noqa: PLR2004


def sklearn_metric(name: str, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a scorer of scikit-learn, with losses as positive numbers; NaN if it is undefined."""
    try:
        value = sklearn_score(name, y, p, weights)
    except ValueError:
        return float("nan")
    return -value if name.startswith("neg_") else value


def sklearn_score(name: str, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a scorer of scikit-learn. Higher is better, so losses are negative.

    The plain names work with any number of classes. For more than two classes f1, jaccard,
    precision and recall are macro averages, and roc_auc is the mean of the one-versus-rest areas.

    Raises
    ------
    ValueError
        If the score is not defined on these rows; the message is scikit-learn's, in one line.
    """
    scorer = _scorer(_MULTICLASS_NAMES.get(name, name) if _is_multiclass(p) else name)
    # Scores are computed at every rung of every trial: repeated warnings would not help.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # scikit-learn warns if a score is perfect whatever is predicted: it is not defined then.
        warnings.filterwarnings("error", ".*therefore meaningless", UserWarning)
        try:
            return float(scorer(_FixedPredictions(p), np.arange(len(y)), y, sample_weight=weights))
        except (ValueError, ZeroDivisionError, UserWarning) as error:
            raise ValueError(" ".join(str(error).split()).rstrip(".")) from error
        except TypeError as error:
            # Raised by metric functions that have no sample_weight argument.
            if weights is None or "sample_weight" not in str(error):
                raise
            raise ValueError(f"{name} takes no row weights") from error


class _FixedPredictions:
    """A fitted estimator for scorers; X holds the numbers of the rows of the predictions."""

    def __init__(self, p: Array) -> None:
        self._p = p

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        kind = "regressor" if self._p.ndim == 1 else "classifier"
        return Tags(estimator_type=kind, target_tags=TargetTags(required=True))

    @property
    def classes_(self) -> Array:
        return np.arange(self._p.shape[1])

    def predict(self, X: Array) -> Array:
        return np.asarray(self._p[X] if self._p.ndim == 1 else self._p[X].argmax(axis=1))

    def predict_proba(self, X: Array) -> Array:
        return np.asarray(self._p[X])


@cache
def _scorer(name: str) -> Any:
    from sklearn.metrics import get_scorer

    return get_scorer(name)


@cache
def scorer_names() -> frozenset[str]:
    """Return the names of all scorers of scikit-learn, `neg_` included."""
    from sklearn.metrics import get_scorer_names

    return frozenset(get_scorer_names())
