"""The estimators pass scikit-learn's checks and run the same search as `launch`."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skrub import TableVectorizer

from search import ForestSearchClassifier, ForestSearchRegressor, StudySpec, launch

_REASON = "the bootstrap draws rows by their weights, which differs from repeating the rows"
# scikit-learn's own forests fail these checks, too.
_EXPECTED_FAILURES = {
    f"check_sample_weight_equivalence_on_{kind}_data": _REASON for kind in ("dense", "sparse")
}


@pytest.mark.slow
@parametrize_with_checks(
    [ForestSearchClassifier(trials=1, trees=10, random_state=0)],
    expected_failed_checks=lambda _estimator: _EXPECTED_FAILURES,
)
def test_the_classifier_passes_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow  # most checks are those of the classifier, and so is most of the code
@parametrize_with_checks(
    [ForestSearchRegressor(trials=1, trees=10, random_state=0)],
    expected_failed_checks=lambda _estimator: _EXPECTED_FAILURES,
)
def test_the_regressor_passes_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> ForestSearchRegressor:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return ForestSearchRegressor(trials=12, random_state=3).fit(X, y)


@pytest.mark.usefixtures("mlflow_file")  # the default store of the working directory
def test_fit_runs_the_same_search_as_a_launch_with_one_worker(
    fitted: ForestSearchRegressor,
) -> None:
    spec = StudySpec(trials=12, seed=3, holdout=0.0, register=False, workers=1)  # type: ignore[call-arg]
    result = launch(spec, quiet=True)
    assert result.best_params == fitted.best_params_
    assert result.best_value == fitted.best_score_
    in_memory, launched = fitted.study_.trials, result.study.trials
    assert [t.params for t in in_memory] == [t.params for t in launched]
    assert [t.intermediate_values for t in in_memory] == [t.intermediate_values for t in launched]


def test_the_best_estimator_is_a_scikit_learn_forest(fitted: ForestSearchRegressor) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    forest = fitted.best_estimator_
    assert len(forest.estimators_) >= 100
    refitted = clone(forest).fit(X.to_numpy(np.float32), y)
    assert (refitted.predict(X.to_numpy(np.float32)) == fitted.predict(X)).all()
    most = np.argsort(fitted.feature_importances_)[-2:]
    assert set(X.columns[most]) == {"bmi", "s5"}
    assert fitted.study_.best_value == fitted.best_score_
    assert fitted.study_.best_params == fitted.best_params_


def test_a_pickled_estimator_predicts_the_same(fitted: ForestSearchRegressor) -> None:
    X, _ = load_diabetes(return_X_y=True, as_frame=True)
    loaded = pickle.loads(pickle.dumps(fitted))  # noqa: S301 own data
    assert (loaded.predict(X) == fitted.predict(X)).all()
    assert len(loaded.study_.trials) == 12
    assert not hasattr(clone(fitted), "study_")


@pytest.mark.slow
def test_it_works_in_pipelines_and_in_a_grid_search() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, y = X.iloc[::2], y.iloc[::2]
    mixed = X.iloc[:, :4].assign(kind=np.where(X["mean area"] > 600, "large", "small"))
    forest = ForestSearchClassifier(trials=2, trees=20, random_state=0)
    assert cross_val_score(make_pipeline(TableVectorizer(), forest), mixed, y, cv=2).mean() > 0.85
    pipeline = make_pipeline(StandardScaler(), forest)
    grid = {"forestsearchclassifier__metric": ["brier", "accuracy"]}
    searched = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert searched.best_score_ > 0.9


def test_metric_trees_and_space_are_used() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    forest = ForestSearchClassifier(
        "roc_auc",
        trials=8,
        trees="30",  # text, as in a configuration file
        space={"splitter": "best", "min_samples_leaf": (2, 5)},
        random_state=0,
    )
    forest.fit(X, y)
    assert len(forest.best_estimator_.estimators_) == 30
    assert forest.study_.direction.name == "MAXIMIZE"
    assert {t.params["min_samples_leaf"] for t in forest.study_.trials} == {2, 5}
    assert forest.best_score_ > 0.98


def test_class_labels_are_kept() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malign", "benign"])[y]
    forest = ForestSearchClassifier(trials=2, random_state=0).fit(X, names)
    assert list(forest.classes_) == ["benign", "malign"]
    assert forest.score(X, names) > 0.95
    assert forest.predict_proba(X).shape == (len(X), 2)
    assert (forest.classes_[forest.predict_proba(X).argmax(axis=1)] == forest.predict(X)).all()


@pytest.mark.slow
def test_rows_are_scored_only_by_trees_that_saw_no_row_of_their_group() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    X = random.normal(size=(40, 3))[groups] + 0.01 * random.normal(size=(400, 3))
    y = random.normal(size=40)[groups]  # a new group cannot be predicted
    leaking = ForestSearchRegressor("r2", trials=3, random_state=0).fit(X, y)
    grouped = ForestSearchRegressor("r2", trials=3, random_state=0).fit(X, y, groups=groups)
    assert leaking.best_score_ > 0.9
    assert grouped.best_score_ < 0.2


@pytest.mark.slow
def test_groups_may_have_any_values_and_be_few() -> None:
    X, y = load_diabetes(return_X_y=True)
    by_number = np.arange(len(y)) % 3
    named = np.array(["a", 2, "c"], dtype=object)[by_number]
    numbered = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, groups=by_number)
    mixed = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, groups=named)
    # The text "2" is sorted before "a" and "c", so the same groups have another order.
    assert mixed.best_score_ == pytest.approx(numbered.best_score_, rel=0.1)
    for groups, message in (
        (np.zeros(len(y)), "all rows belong to one group"),
        (np.where(by_number, by_number, np.nan), "groups is missing in 148 rows"),
        (by_number[:5], r"groups has shape \(5,\), but there are 442 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            ForestSearchRegressor(trials=2).fit(X, y, groups=groups)


@pytest.mark.slow
def test_weights_decide_which_rows_count() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 2))
    y = np.where(np.arange(300) < 150, X[:, 0], -X[:, 0])
    weights = np.where(np.arange(300) < 150, 1.0, 0.01)
    forest = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, sample_weight=weights)
    assert np.corrcoef(forest.predict(X), X[:, 0])[0, 1] > 0.9


@pytest.mark.slow
def test_several_jobs_propose_the_same_first_trials(fitted: ForestSearchRegressor) -> None:
    X, y = load_diabetes(return_X_y=True)
    forest = ForestSearchRegressor(trials=6, n_jobs=2, random_state=3).fit(X, y)
    assert [t.params for t in forest.study_.trials][:6] == [
        t.params
        for t in fitted.study_.trials[:6]  # fixed, before the sampler proposes any
    ]


def test_a_failed_fit_leaves_the_estimator_unchanged() -> None:
    X, y = load_diabetes(return_X_y=True)
    unfitted = ForestSearchRegressor("nope")
    with pytest.raises(ValueError, match="nope"):
        unfitted.fit(X, y)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    forest = ForestSearchClassifier(trials=1, trees=10, random_state=0).fit(X, y > 140)
    forest.set_params(metric="nope")
    with pytest.raises(ValueError, match="nope"):
        forest.fit(X, np.where(y > 140, "b", "a"))
    assert set(forest.predict(X)) == set(forest.classes_) == {False, True}


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [0, pytest.param(40, marks=pytest.mark.slow)])
def test_with_stores_the_study_is_stored_and_mirrored(
    n_groups: int, mlflow_file: str, tmp_path: Path
) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.rename(columns={"age": "target", "sex": "target_"})
    weights = np.linspace(1, 2, len(X))
    stores = {"storage": f"sqlite:///{tmp_path}/optuna.db", "tracking_uri": mlflow_file}
    forest = ForestSearchRegressor(trials=3, random_state=0, study="mine", **stores)
    groups = np.arange(len(X)) % n_groups if n_groups else None
    forest.fit(X, y, sample_weight=weights, groups=groups)
    no_stores = dict.fromkeys([*stores, "study"])
    in_memory = (
        clone(forest).set_params(**no_stores).fit(X, y, sample_weight=weights, groups=groups)
    )
    assert forest.best_score_ == in_memory.best_score_
    assert (forest.predict(X) == in_memory.predict(X)).all()
    assert forest.study_.study_name == "mine"
    client = MlflowClient(stores["tracking_uri"])
    runs = client.search_runs(["1"], "tags.`grovekeeper.kind` = 'trial'")
    assert len(runs) == 3
    assert client.search_registered_models() == []
    assert sorted(pickle.loads(pickle.dumps(forest)).study_.best_params)  # noqa: S301 own data


def test_without_stores_it_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = load_diabetes(return_X_y=True)
    ForestSearchRegressor(trials=2).fit(X, y)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_if_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = load_diabetes(return_X_y=True)
    ForestSearchRegressor(trials=2, random_state=0).fit(X, y)
    assert capsys.readouterr() == ("", "")
    ForestSearchRegressor(trials=2, random_state=0, verbose=1).fit(X, y)
    assert "2/2 trials" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "rsme"}, "did you mean 'rmse'"),
        ({"trials": 0}, "invalid trials 0"),
        ({"space": {"depth": 3}}, r"invalid \[space\] depth: the hyperparameters are"),
    ],
)
def test_invalid_parameters_raise_a_value_error(options: dict[str, Any], message: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        ForestSearchRegressor(**options).fit(X, y)


def test_the_shortest_timeout_still_gives_a_forest() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = ForestSearchRegressor(timeout=1e-9, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.3


@pytest.mark.slow
def test_it_beats_the_default_forest_on_noisy_data() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 10))
    y = X[:, 0] + 3 * random.normal(size=400)
    new = random.normal(size=(2000, 10))
    truth = new[:, 0]
    searched = ForestSearchRegressor(trials=12, random_state=0).fit(X, y).predict(new)
    default = RandomForestRegressor(300, random_state=0).fit(X, y).predict(new)
    assert ((searched - truth) ** 2).mean() < 0.8 * ((default - truth) ** 2).mean()
