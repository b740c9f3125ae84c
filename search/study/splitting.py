"""Chooses how trials are scored: by out-of-bag votes, or by folds if votes are misleading."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.dataset import Dataset
from search.errors import DataError, UsageError
from search.forest.resampling import Resampling, has_enough_oob_votes
from search.study.spec import StudySpec

Array = NDArray[Any]


def choose_resampling(spec: StudySpec, dataset: Dataset) -> tuple[Resampling, tuple[str, ...]]:
    """Choose the rows that trees are grown on and scored on.

    Returns
    -------
    the resampling, and a sentence for each choice that was made for the user

    Raises
    ------
    UsageError
        If out-of-bag votes are requested although they would be misleading.
    DataError
        If there are too few rows, groups or times for the folds.
    """
    roles, y, n_classes = dataset.roles, dataset.y, dataset.n_classes
    bound = "group" if roles.groups is not None else "time" if roles.times is not None else None
    if roles.groups is not None and roles.times is not None:
        raise UsageError("--group and --time together are not supported: name one of them")
    if bound is not None and spec.evaluation == "oob":
        msg = f"--evaluation oob: a tree would see rows of the same {bound} as the rows it votes on"
        raise UsageError(f"{msg}; leave --evaluation out")
    if roles.groups is not None:
        folds = _group_folds(roles.groups, y, n_classes, spec)
        _check_weights(dataset, folds)
        return Resampling(roles.groups, folds), (f"scored by {spec.folds} folds of whole groups",)
    if roles.times is not None:
        folds = _time_folds(roles.times, spec.folds)
        _check_weights(dataset, folds)
        text = f"scored by {spec.folds} folds, each later than the rows its trees grow on"
        return Resampling(roles.times, folds), (text,)
    units, notes = _units(dataset)
    wanted = spec.evaluation == "cv"
    if dataset.weights is not None and not has_enough_oob_votes(y, n_classes, dataset.weights):
        text = "rows with large weights are in nearly every bag and get too few out-of-bag votes"
        if spec.evaluation == "oob":
            notes += (f"--evaluation oob, but {text}: they hardly affect the score",)
        elif not wanted:
            notes += (f"{text}: scored by {spec.folds} folds instead",)
            wanted = True
    if not wanted:
        return Resampling(units), notes
    if units is None:
        folds = _plain_folds(y, n_classes, spec)
    else:
        folds = _group_folds(units, y, n_classes, spec)
    _check_weights(dataset, folds)
    return Resampling(units, folds), notes


def _check_weights(dataset: Dataset, folds: Iterable[tuple[Array, Array]]) -> None:
    weights = dataset.weights
    if weights is not None and not all(weights[train].any() for train, _ in folds):
        raise DataError(
            "all training rows of a fold have weight 0: remove rows of weight 0 from the table"
        )


def _units(dataset: Dataset) -> tuple[Array | None, tuple[str, ...]]:
    """Number the rows by their features, if some repeat: repeated rows must be drawn together.

    If most rows repeat, few different rows are possible, and new rows will repeat them as well.
    Then rows are drawn independently.
    """
    units = dataset.units
    if units is None:
        return None, ()
    n_rows, distinct = len(units), int(units.max()) + 1
    if distinct < n_rows / 2:
        text = (
            f"only {distinct} of {n_rows} training rows are distinct: all are drawn independently"
        )
        return None, (text,)
    text = (
        f"{n_rows - distinct} of {n_rows} training rows repeat another: they are kept on one side"
    )
    return units, (text,)


def _plain_folds(y: Array, n_classes: int, spec: StudySpec) -> tuple[tuple[Array, Array], ...]:
    from sklearn.model_selection import KFold, StratifiedKFold

    _check_enough(len(y), "rows", spec.folds)
    options = {"n_splits": spec.folds, "shuffle": True, "random_state": spec.seed}
    stratified = n_classes and np.bincount(y).min() >= spec.folds
    divide = StratifiedKFold(**options) if stratified else KFold(**options)
    return tuple(divide.split(y, y))


def _group_folds(
    groups: Array, y: Array, n_classes: int, spec: StudySpec
) -> tuple[tuple[Array, Array], ...]:
    """Divide the groups as evenly as possible; each group is in one fold."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    _check_enough(len(np.unique(groups)), "groups", spec.folds)
    if n_classes and np.bincount(y).min() >= spec.folds:
        divide = StratifiedGroupKFold(spec.folds, shuffle=True, random_state=spec.seed)
    else:
        divide = GroupKFold(spec.folds)  # balances the sizes of the folds if it does not shuffle
    return tuple(divide.split(y, y, groups))


def _time_folds(times: Array, n_folds: int) -> tuple[tuple[Array, Array], ...]:
    """Apply scikit-learn's `TimeSeriesSplit` to the distinct times: equal times stay together."""
    from sklearn.model_selection import TimeSeriesSplit

    moments = np.unique(times)
    _check_enough(len(moments) - 1, "later times", n_folds)
    return tuple(
        (
            np.flatnonzero(times <= moments[earlier[-1]]),
            np.flatnonzero(np.isin(times, moments[later])),
        )
        for earlier, later in TimeSeriesSplit(n_folds).split(moments)
    )


def _check_enough(count: int, what: str, n_folds: int) -> None:
    if count < n_folds:
        msg = f"{count} {what} are too few for {n_folds} folds: give fewer with --folds"
        raise DataError(msg)
