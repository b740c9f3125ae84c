"""The estimators: scikit-learn's own checks, and that they search as `launch` does."""

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

_BAGS = "a bootstrap draws rows by their weight: it is not the same as repeating them"
# As scikit-learn's own forests.
_UNEQUAL = {
    f"check_sample_weight_equivalence_on_{kind}_data": _BAGS for kind in ("dense", "sparse")
}


@parametrize_with_checks(
    [
        ForestSearchRegressor(trials=2, trees=10, random_state=0),
        ForestSearchClassifier(trials=2, trees=10, random_state=0),
    ],
    expected_failed_checks=lambda _estimator: _UNEQUAL,
)
def test_they_pass_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> ForestSearchRegressor:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return ForestSearchRegressor(trials=12, random_state=3).fit(X, y)


def test_the_search_is_that_of_a_launch_with_one_worker(
    fitted: ForestSearchRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = StudySpec(trials=12, seed=3, holdout=0.0, register=False, workers=1)  # type: ignore[call-arg]
    found = launch(spec, quiet=True)
    assert found.best_params == fitted.best_params_
    assert found.best_value == fitted.best_score_
    ours, theirs = fitted.study_.trials, found.study.trials
    assert [t.params for t in ours] == [t.params for t in theirs]
    assert [t.intermediate_values for t in ours] == [t.intermediate_values for t in theirs]


def test_what_it_keeps_is_a_forest_of_scikit_learn(fitted: ForestSearchRegressor) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    forest = fitted.best_estimator_
    assert len(forest.estimators_) >= 100
    again = clone(forest).fit(X.to_numpy(np.float32), y)
    assert (again.predict(X.to_numpy(np.float32)) == fitted.predict(X)).all()
    most = np.argsort(fitted.feature_importances_)[-2:]
    assert set(X.columns[most]) == {"bmi", "s5"}
    assert fitted.study_.best_value == fitted.best_score_
    assert fitted.study_.best_params == fitted.best_params_


def test_pickled_it_is_the_same(fitted: ForestSearchRegressor) -> None:
    X, _ = load_diabetes(return_X_y=True, as_frame=True)
    other = pickle.loads(pickle.dumps(fitted))  # noqa: S301 our own
    assert (other.predict(X) == fitted.predict(X)).all()
    assert len(other.study_.trials) == 12
    assert not hasattr(clone(fitted), "study_")


def test_it_stands_in_pipelines_and_in_searches_over_itself() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    mixed = X.iloc[:, :4].assign(kind=np.where(X["mean area"] > 600, "large", "small"))
    forest = ForestSearchClassifier(trials=3, random_state=0)
    assert cross_val_score(make_pipeline(TableVectorizer(), forest), mixed, y, cv=3).mean() > 0.85
    pipeline = make_pipeline(StandardScaler(), forest)
    grid = {"forestsearchclassifier__metric": ["brier", "accuracy"]}
    found = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert found.best_score_ > 0.9


def test_metric_trees_and_space_are_as_asked() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    forest = ForestSearchClassifier(
        "roc_auc",
        trials=8,
        trees="30",  # as a file of options may have it
        space={"splitter": "best", "min_samples_leaf": (2, 5)},
        random_state=0,
    )
    forest.fit(X, y)
    assert len(forest.best_estimator_.estimators_) == 30
    assert forest.study_.direction.name == "MAXIMIZE"
    assert {t.params["min_samples_leaf"] for t in forest.study_.trials} == {2, 5}
    assert forest.best_score_ > 0.98


def test_classes_keep_their_names() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malign", "benign"])[y]
    forest = ForestSearchClassifier(trials=2, random_state=0).fit(X, names)
    assert list(forest.classes_) == ["benign", "malign"]
    assert forest.score(X, names) > 0.95
    assert forest.predict_proba(X).shape == (len(X), 2)
    assert (forest.classes_[forest.predict_proba(X).argmax(axis=1)] == forest.predict(X)).all()


def test_rows_of_a_group_are_scored_by_trees_that_saw_none_of_it() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    X = random.normal(size=(40, 3))[groups] + 0.01 * random.normal(size=(400, 3))
    y = random.normal(size=40)[groups]  # nothing of a new group can be known
    fooled = ForestSearchRegressor("r2", trials=3, random_state=0).fit(X, y)
    honest = ForestSearchRegressor("r2", trials=3, random_state=0).fit(X, y, groups=groups)
    assert fooled.best_score_ > 0.9
    assert honest.best_score_ < 0.2


def test_groups_are_of_any_values_and_may_be_few() -> None:
    X, y = load_diabetes(return_X_y=True)
    by_number = np.arange(len(y)) % 3
    named = np.array(["a", 2, "c"], dtype=object)[by_number]
    numbered = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, groups=by_number)
    mixed = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, groups=named)
    # "2" comes before "a" and "c": the groups are the same, their order is not.
    assert mixed.best_score_ == pytest.approx(numbered.best_score_, rel=0.1)
    for groups, said in (
        (np.zeros(len(y)), "all rows are of one group"),
        (np.where(by_number, by_number, np.nan), "groups is missing in 148 rows"),
        (by_number[:5], r"groups has shape \(5,\), and there are 442 rows"),
    ):
        with pytest.raises(ValueError, match=said):
            ForestSearchRegressor(trials=2).fit(X, y, groups=groups)


def test_weights_decide_which_rows_count() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 2))
    y = np.where(np.arange(300) < 150, X[:, 0], -X[:, 0])
    weights = np.where(np.arange(300) < 150, 1.0, 0.01)
    forest = ForestSearchRegressor(trials=2, random_state=0).fit(X, y, sample_weight=weights)
    assert np.corrcoef(forest.predict(X), X[:, 0])[0, 1] > 0.9


def test_several_jobs_are_processes(fitted: ForestSearchRegressor) -> None:
    X, y = load_diabetes(return_X_y=True)
    forest = ForestSearchRegressor(trials=6, n_jobs=2, random_state=3).fit(X, y)
    assert [t.params for t in forest.study_.trials][:6] == [
        t.params
        for t in fitted.study_.trials[:6]  # fixed ones, before any is proposed
    ]


def test_after_a_fit_that_failed_it_is_what_it_was() -> None:
    X, y = load_diabetes(return_X_y=True)
    never = ForestSearchRegressor("nope")
    with pytest.raises(ValueError, match="nope"):
        never.fit(X, y)
    with pytest.raises(NotFittedError):
        never.predict(X)
    forest = ForestSearchClassifier(trials=1, trees=10, random_state=0).fit(X, y > 140)
    forest.set_params(metric="nope")
    with pytest.raises(ValueError, match="nope"):
        forest.fit(X, np.where(y > 140, "b", "a"))
    assert set(forest.predict(X)) == set(forest.classes_) == {False, True}


@pytest.mark.parametrize("n_groups", [0, 40])
def test_asked_for_it_is_tracked(
    n_groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.rename(columns={"age": "target", "sex": "target_"})
    weights = np.linspace(1, 2, len(X))
    stores = {
        "storage": f"sqlite:///{tmp_path}/optuna.db",
        "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
    }
    forest = ForestSearchRegressor(trials=3, random_state=0, study="mine", **stores)
    groups = np.arange(len(X)) % n_groups if n_groups else None
    forest.fit(X, y, sample_weight=weights, groups=groups)
    nowhere = dict.fromkeys([*stores, "study"])
    alone = clone(forest).set_params(**nowhere).fit(X, y, sample_weight=weights, groups=groups)
    assert forest.best_score_ == alone.best_score_
    assert (forest.predict(X) == alone.predict(X)).all()
    assert forest.study_.study_name == "mine"
    client = MlflowClient(stores["tracking_uri"])
    runs = client.search_runs(["1"], "tags.`grovekeeper.kind` = 'trial'")
    assert len(runs) == 3
    assert client.search_registered_models() == []
    assert sorted(pickle.loads(pickle.dumps(forest)).study_.best_params)  # noqa: S301 our own


def test_untracked_it_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = load_diabetes(return_X_y=True)
    ForestSearchRegressor(trials=2).fit(X, y)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = load_diabetes(return_X_y=True)
    ForestSearchRegressor(trials=2, random_state=0).fit(X, y)
    assert capsys.readouterr() == ("", "")
    ForestSearchRegressor(trials=2, random_state=0, verbose=1).fit(X, y)
    assert "2/2 trials" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "rsme"}, "did you mean 'rmse'"),
        ({"trials": 0}, "invalid trials 0"),
        ({"space": {"depth": 3}}, r"invalid \[space\] depth: the hyperparameters are"),
        ({"timeout": 1e-9}, "no trial was completed"),
    ],
)
def test_what_cannot_be_is_a_value_error(options: dict[str, Any], said: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match=said):
        ForestSearchRegressor(**options).fit(X, y)


def test_it_is_better_than_the_default_forest_on_data_that_asks_for_more() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 10))
    y = X[:, 0] + 3 * random.normal(size=400)
    new = random.normal(size=(2000, 10))
    truth = new[:, 0]
    ours = ForestSearchRegressor(trials=30, random_state=0).fit(X, y).predict(new)
    default = RandomForestRegressor(300, random_state=0).fit(X, y).predict(new)
    assert ((ours - truth) ** 2).mean() < 0.8 * ((default - truth) ** 2).mean()
