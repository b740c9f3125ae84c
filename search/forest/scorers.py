"""How scores are computed from predictions, row weights included.

What is computed at every rung is plain numpy; for the rest scikit-learn's scorers are handed an
estimator that answers with the given predictions, so that sign, response and positive class stay
scikit-learn's own. Throughout, y has shape (n,): values, or the indices of the classes; p has shape
(n,), or (n, n_classes) for probabilities; weights are the rows', shape (n,), or None. Where a score
is not defined on the rows, it is not a finite number.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Score = Callable[[Array, Array, Array | None], float]
# Of squared errors, y, weights and the number of classes (0 for values).
SquaresScore = Callable[[Array, Array, Array | None, int], float]


def average(values: Array, weights: Array | None = None) -> float:
    """Weighted mean; not a number where there is nothing to average."""
    total = len(values) if weights is None else weights.sum()
    if not total:
        return float("nan")
    return float(values.mean() if weights is None else values @ weights / total)


def shares(y: Array, n_classes: int, weights: Array | None = None) -> Array:
    """Share of each class in the rows, shape (n_classes,)."""
    counts = np.bincount(y, weights, minlength=n_classes)
    return np.asarray(counts / (counts.sum() or np.nan))


def _explained(loss: float, null: float) -> float:
    return 1.0 - loss / null if null else float("nan")


def mse(errors: Array, _y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Mean of squared errors."""
    return average(errors, weights)


def rmse(errors: Array, _y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Root of the mean of squared errors."""
    # The estimate of a sum of squares can fall below 0 where the error is next to nothing.
    return float(np.sqrt(np.maximum(average(errors, weights), 0.0)))


def r2(errors: Array, y: Array, weights: Array | None = None, _n_classes: int = 0) -> float:
    """Share of the variance of y that is explained; not a number where y has none."""
    variance = average((y - average(y, weights)) ** 2, weights)
    return _explained(average(errors, weights), variance)


def of_values(squares: SquaresScore, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a score of squared errors from predicted values."""
    return squares((y - p) ** 2, y, weights, 0)


def mae(y: Array, p: Array, weights: Array | None = None) -> float:
    """Mean of absolute errors."""
    return average(np.abs(y - p), weights)


def poisson_deviance(y: Array, p: Array, weights: Array | None = None) -> float:
    """scikit-learn's mean Poisson deviance, of predictions raised to 1/101 of the mean of y.

    scikit-learn refuses a prediction of 0, and a finite forest says 0 wherever its trees have seen
    nothing else. As in `log_loss`, one observation in 101 stands in for what it has not seen;
    predictions that are higher are left as they are.
    """
    raised = np.maximum(p, average(y, weights) / 101)
    return by_scorer("neg_mean_poisson_deviance", y, raised, weights)


def brier_scale(n_classes: int) -> float:
    """What scikit-learn multiplies squared distances with: a half for two classes."""
    return 1.0 if n_classes > 2 else 0.5  # noqa: PLR2004


def brier_errors(y: Array, p: Array) -> Array:
    """Squared distance of the probabilities from the class that came true, shape (n,).

    As scikit-learn has it: summed over the classes, and halved where there are two.
    """
    distances = ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)
    return np.asarray(distances * brier_scale(p.shape[1]))


def brier(y: Array, p: Array, weights: Array | None = None) -> float:
    """Brier score: the mean of `brier_errors`."""
    return average(brier_errors(y, p), weights)


def d2_brier(errors: Array, y: Array, weights: Array | None = None, n_classes: int = 2) -> float:
    """Share of the Brier score of the classes' shares that is explained, from `brier_errors`."""
    # Said to every row, the shares q have a mean squared distance of 1 - sum(q^2).
    null = 1.0 - float((shares(y, 0, weights) ** 2).sum())
    return _explained(average(errors, weights), null * brier_scale(n_classes))


def of_probabilities(
    squares: SquaresScore, y: Array, p: Array, weights: Array | None = None
) -> float:
    """Compute a score of squared errors from predicted probabilities."""
    return squares(brier_errors(y, p), y, weights, p.shape[1])


def log_loss(y: Array, p: Array, weights: Array | None = None) -> float:
    """Log loss of (100 p + 1/K) / 101, with K classes: as if p were of 100 votes, and one added.

    The one is spread evenly over the classes, a prior that stands in for what finite votes cannot
    say: a class that no tree votes for is not impossible.
    """
    smoothed = (p * 100 + 1 / p.shape[1]) / 101
    return -average(np.log(smoothed[np.arange(len(y)), y]), weights)


def d2_log_loss(y: Array, p: Array, weights: Array | None = None) -> float:
    """Share of the log loss of the classes' shares that is explained by the smoothed `log_loss`."""
    q = shares(y, 0, weights)
    q = q[q > 0]
    return _explained(log_loss(y, p, weights), -float(q @ np.log(q)))


def accuracy(y: Array, p: Array, weights: Array | None = None) -> float:
    """Share of rows whose class has the highest probability."""
    return average(p.argmax(axis=1) == y, weights)


def balanced_accuracy(y: Array, p: Array, weights: Array | None = None) -> float:
    """Mean, over the classes that there are, of the share of their rows that is right."""
    right = (p.argmax(axis=1) == y).astype(float)
    total = np.bincount(y, weights)
    found = np.bincount(y, right if weights is None else right * weights)
    return average(found[total > 0] / total[total > 0])


def f1(y: Array, p: Array, weights: Array | None = None) -> float:
    """F1 of the second of two classes; of more classes the mean over those that there are."""
    n_classes, said = p.shape[1], p.argmax(axis=1)
    true, called = np.bincount(y, weights, n_classes), np.bincount(said, weights, n_classes)
    hit = said == y
    right = np.bincount(y, hit if weights is None else hit * weights, n_classes)
    there = true + called > 0
    scores = 2 * right[there] / (true + called)[there]
    if _is_multiclass(p):
        return average(scores)
    return float(scores[-1]) if there[1] else 0.0


def roc_auc(y: Array, p: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve; of more classes the mean over each against the rest."""
    if not _is_multiclass(p):
        return _area(y == 1, p[:, 1], weights)
    return float(np.mean([_area(y == k, p[:, k], weights) for k in range(p.shape[1])]))


def _area(positive: Array, p: Array, weights: Array | None) -> float:
    """Chance that a positive row ranks above a negative one; ties count half."""
    w = np.ones(len(p)) if weights is None else weights
    rank = np.unique(p, return_inverse=True)[1]
    of_positive, of_negative = np.bincount(rank, w * positive), np.bincount(rank, w * ~positive)
    pairs = of_positive.sum() * of_negative.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(of_negative) - of_negative
    return float(of_positive @ (below + of_negative / 2) / pairs)


# Scorers whose plain name means two classes, and what it means for more.
_OF_MORE_CLASSES = {
    "f1": "f1_macro",
    "jaccard": "jaccard_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "roc_auc": "roc_auc_ovr",
}


def _is_multiclass(p: Array) -> bool:
    return p.ndim > 1 and p.shape[1] > 2  # noqa: PLR2004


class _Given:
    """Stands where a fitted estimator would; its rows are the numbers of rows of predictions."""

    def __init__(self, p: Array) -> None:
        self._p = p

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        kind = "regressor" if self._p.ndim == 1 else "classifier"
        return Tags(estimator_type=kind, target_tags=TargetTags(required=True))

    @property
    def classes_(self) -> Array:
        return np.arange(self._p.shape[1])

    def predict(self, rows: Array) -> Array:
        return np.asarray(self._p[rows] if self._p.ndim == 1 else self._p[rows].argmax(axis=1))

    def predict_proba(self, rows: Array) -> Array:
        return np.asarray(self._p[rows])


@cache
def _scorer(name: str) -> Any:
    from sklearn.metrics import get_scorer

    return get_scorer(name)


@cache
def scorer_names() -> frozenset[str]:
    """Every name that scikit-learn has a scorer for, `neg_` included."""
    from sklearn.metrics import get_scorer_names

    return frozenset(get_scorer_names())


def score(name: str, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a scorer of scikit-learn: higher is better, so a loss is negative.

    The plain names work with any number of classes: f1, jaccard, precision and recall of more than
    two are the mean over the classes (macro), roc_auc and average_precision that of each class
    against the rest.

    Raises
    ------
    ValueError
        When the score is not defined on these rows; the message is scikit-learn's, in one line.
    """
    scorer = _scorer(_OF_MORE_CLASSES.get(name, name) if _is_multiclass(p) else name)
    # Scores are taken at every rung of every trial: a warning at each would say nothing new.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # But this one says that the score is perfect whatever is predicted.
        warnings.filterwarnings("error", ".*therefore meaningless", UserWarning)
        try:
            return float(scorer(_Given(p), np.arange(len(y)), y, sample_weight=weights))
        except (ValueError, ZeroDivisionError, UserWarning) as error:
            raise ValueError(" ".join(str(error).split()).rstrip(".")) from error
        except TypeError as error:
            # Of a function that has no such argument.
            if weights is None or "sample_weight" not in str(error):
                raise
            raise ValueError(f"{name} takes no row weights") from error


def by_scorer(name: str, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a scorer of scikit-learn, a loss as a positive number."""
    try:
        value = score(name, y, p, weights)
    except ValueError:
        return float("nan")
    return -value if name.startswith("neg_") else value
