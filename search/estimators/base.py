"""scikit-learn estimators that search for their hyperparameters in `fit`."""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from search.api import launch
from search.data.addresses import FRAME
from search.data.dataset import Dataset
from search.data.description import ResolvedDescription
from search.data.merging import merge_values
from search.data.roles import Roles
from search.errors import SearchError
from search.estimators.fit_arguments import folds_for, groups_of, weights_of
from search.estimators.in_memory import search_in_memory
from search.forest.fitting import champion_seed, fit_forest, make_forest
from search.model.champion import champion_size, check_fits
from search.study.problem import make_problem
from search.study.spec import make_spec
from search.types import Task
from storage.errors import StorageError
from storage.records import TrialRecord
from storage.studies.trials import record_of
from storage.tracking.client import without_autologging

if TYPE_CHECKING:
    import optuna

Array = NDArray[Any]
_FEWEST_ROWS = 2


class _ForestSearch(BaseEstimator):  # type: ignore[misc]
    """Base of both estimators."""

    _task: ClassVar[Task]

    def __init__(  # noqa: PLR0913 scikit-learn requires each parameter
        self,
        metric: str | None = None,
        trials: int = 50,
        *,
        space: Mapping[str, Any] | None = None,
        trees: int | Literal["auto"] = "auto",
        timeout: float | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        study: str | None = None,
        storage: str | None = None,
        tracking_uri: str | None = None,
    ) -> None:
        self.metric = metric
        self.trials = trials
        self.space = space
        self.trees = trees
        self.timeout = timeout
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.study = study
        self.storage = storage
        self.tracking_uri = tracking_uri

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Search for hyperparameters, and fit a forest with the best ones on all rows.

        The best trial is taken whatever the size of its forest.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Numeric features. Missing values (NaN) are allowed.
        y : array-like of shape (n_rows,)
            Values or class labels to predict.
        sample_weight : array-like of shape (n_rows,), optional
        groups : array-like of shape (n_rows,), optional
            Group of each row. Trials are then scored by cross-validation over whole groups.

        Raises
        ------
        ValueError
            If nothing can be learned from the data, or a parameter is invalid.
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=np.float32,
            ensure_all_finite="allow-nan",
            ensure_min_samples=_FEWEST_ROWS,
            y_numeric=self._task == "regression",
        )
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        self._seed = int(seed)
        roles = Roles(weights_of(sample_weight, len(X)), groups_of(groups, len(X)))
        dataset = self._dataset(X, y, roles)
        try:
            best, self.study_ = self._search(dataset)
            trees = champion_size(make_spec(self._options(roles)).trees, best)
            check_fits(dataset, best.params, trees, self._seed)
        except (SearchError, StorageError) as error:
            raise ValueError(str(error)) from error
        forest = make_forest(
            best.params,
            dataset.n_classes,
            trees,
            champion_seed(self._seed),
            effective_n_jobs(self.n_jobs),
        )
        rows = merge_values(dataset.features).to_numpy()
        with without_autologging():
            self.best_estimator_ = fit_forest(forest, rows, dataset.labels, dataset.weights)
        if dataset.classes is not None:
            self.classes_ = dataset.classes
        self.best_params_ = dict(best.params)
        self.best_score_ = best.value
        return self

    def predict(self, X: Any) -> Array:
        """Predict values or classes of rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        array of shape (n_rows,)
        """
        return np.asarray(self._forest.predict(self._validated(X)))

    @property
    def feature_importances_(self) -> Array:
        """The forest's impurity-based importance of each feature; shape (n_features,)."""
        return np.asarray(self._forest.feature_importances_)

    @property
    def _forest(self) -> Any:
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    def _validated(self, X: Any) -> Array:
        check_is_fitted(self, "best_estimator_")
        validated: Array = validate_data(
            self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False
        )
        return validated

    def _encode(self, y: Array) -> tuple[Array, Array | None]:
        return np.asarray(y, dtype=np.float64), None

    def _dataset(self, X: Array, y: Array, roles: Roles) -> Dataset:
        """Return all rows as training rows."""
        import pandas as pd

        names = getattr(self, "feature_names_in_", [f"x{place}" for place in range(X.shape[1])])
        features = pd.DataFrame(X, columns=names)
        codes, classes = self._encode(y)
        return Dataset(
            description=ResolvedDescription(
                source=FRAME, target="", task=self._task, holdout=0.0, digest=""
            ),
            features=features,
            y=codes,
            held_out_features=features[:0],
            held_out_y=codes[:0],
            classes=classes,
            roles=roles,
        )

    def _search(self, dataset: Dataset) -> "tuple[TrialRecord, optuna.Study]":
        """Return the best trial and the Optuna study."""
        if self.study or self.storage or self.tracking_uri:
            return self._search_stored(dataset)
        problem = make_problem(make_spec(self._options(dataset.roles)), dataset)
        return search_in_memory(problem, effective_n_jobs(self.n_jobs), quiet=not self.verbose)

    def _options(self, roles: Roles) -> dict[str, Any]:
        """Return the options of `StudySpec` that correspond to the parameters."""
        return {
            "task": self._task,
            "metric": self.metric,
            "trials": self.trials,
            "timeout": self.timeout,
            "trees": self.trees,
            "space": dict(self.space or {}),
            "folds": folds_for(roles.groups),
            "seed": self._seed,
            "holdout": 0.0,
            "register": False,
            "champion": "best",
        }

    def _search_stored(self, dataset: Dataset) -> "tuple[TrialRecord, optuna.Study]":
        """Run the search by `launch`, which stores the study and mirrors it to MLflow."""
        features, roles = dataset.features, dataset.roles
        # `launch` numbers groups in the order of their texts: equal lengths keep the order.
        groups = None if roles.groups is None else np.char.zfill(roles.groups.astype(str), 9)
        extra = {"target": dataset.labels, "sample_weight": roles.weights, "group": groups}
        columns = {
            name: _unused_name(name, features)
            for name, values in extra.items()
            if values is not None
        }
        table = features.assign(**{column: extra[name] for name, column in columns.items()})
        classes = dataset.classes
        is_binary = classes is not None and len(classes) == 2  # noqa: PLR2004
        options = self._options(roles) | {
            "data": table,
            # scikit-learn takes the last class as positive; `launch` would choose the rarer one.
            "positive": classes[1] if classes is not None and is_binary else None,
            "study": self.study,
            "target": columns["target"],
            "weight": columns.get("sample_weight"),
            "group": columns.get("group"),
            "workers": effective_n_jobs(self.n_jobs),
        }
        result = launch(
            make_spec(options),
            storage=self.storage,
            tracking_uri=self.tracking_uri,
            quiet=not self.verbose,
        )
        number = result.summary["best"]["number"]
        (best,) = [trial for trial in result.study.trials if trial.number == number]
        return record_of(best), result.study

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _unused_name(name: str, taken: Container[str]) -> str:
    """Return the name, with underscores appended until it is not taken."""
    while name in taken:
        name += "_"
    return name


class ForestSearchRegressor(RegressorMixin, _ForestSearch):  # type: ignore[misc]
    """Random forest regressor that searches for its hyperparameters in `fit`.

    The search is the same as that of `launch`, but runs in memory: it writes no file, and with one
    job it starts no process. If `study`, `storage` or `tracking_uri` is given, `fit` runs `launch`,
    which stores the study and shows its trials in MLflow.

    Parameters
    ----------
    metric
        Name of the score to optimise; default ``rmse``.
    trials
        Number of finished trials.
    space
        Replaces or narrows the search space, as in `StudySpec`.
    trees
        Number of trees of the fitted forest. ``auto``: as many as its error needs.
    timeout
        Time limit of the search in seconds.
    n_jobs
        Number of processes that grow trees. With more than one, proposals depend on the order in
        which trials end: only 1 or ``None`` gives the same forest for the same `random_state`.
    random_state
        Seed of all randomness.
    verbose
        Whether to show progress.
    study, storage, tracking_uri
        Name of the study, and addresses of Optuna's database and of MLflow's store. If one is
        given, the study is stored, and the others have the defaults of `launch`.

    Attributes
    ----------
    best_estimator_
        The fitted scikit-learn forest.
    best_params_, best_score_
        The best trial's hyperparameters and score.
    study_
        The Optuna study.
    """

    _task = "regression"


class ForestSearchClassifier(ClassifierMixin, _ForestSearch):  # type: ignore[misc]
    """Random forest classifier that searches for its hyperparameters in `fit`.

    Parameters and attributes are those of `ForestSearchRegressor`; the default metric is
    ``brier``.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The class labels.
    """

    _task = "classification"

    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class.

        Returns
        -------
        array of shape (n_rows, n_classes), with classes in the order of `classes_`
        """
        return np.asarray(self._forest.predict_proba(self._validated(X)))

    def _encode(self, y: Array) -> tuple[Array, Array]:
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) == 1:
            raise ValueError(
                f"all rows belong to one class, {classes[0]!r}: nothing can be learned"
            )
        return codes.astype(np.int64), classes
