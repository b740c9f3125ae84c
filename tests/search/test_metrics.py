import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from search.errors import UsageError
from search.metrics import METRICS, evaluate, get_metric, names_for

pairs = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=30
).filter(lambda rows: np.var([y for y, _ in rows]) > 1e-6)


@given(pairs)
def test_regression_scores_are_scikit_learns(rows: list[tuple[float, float]]) -> None:
    y, p = np.array(rows).T
    scores = evaluate("regression", y, p)
    assert scores["rmse"] == pytest.approx(reference.root_mean_squared_error(y, p))
    assert scores["mse"] == pytest.approx(reference.mean_squared_error(y, p))
    assert scores["mae"] == pytest.approx(reference.mean_absolute_error(y, p))
    assert scores["r2"] == pytest.approx(reference.r2_score(y, p), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classification_scores_are_scikit_learns(n_classes: int) -> None:
    random = np.random.default_rng(n_classes)
    y = random.integers(n_classes, size=300)
    p = random.dirichlet(np.ones(n_classes), 300) + 0.4 * np.eye(n_classes)[y]
    p /= p.sum(axis=1, keepdims=True)
    scores = evaluate("classification", y, p)
    top = p.argmax(axis=1)
    average = "binary" if n_classes == 2 else "macro"
    column = p[:, 1] if n_classes == 2 else p
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(y, top))
    assert scores["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, top))
    assert scores["f1"] == pytest.approx(reference.f1_score(y, top, average=average))
    assert scores["roc_auc"] == pytest.approx(reference.roc_auc_score(y, column, multi_class="ovr"))
    one_hot = np.eye(n_classes)[y]
    assert scores["brier"] == pytest.approx(((one_hot - p) ** 2).sum(axis=1).mean())
    assert scores["log_loss"] == pytest.approx(reference.log_loss(y, p), rel=0.05)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    y, p = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert np.isfinite(METRICS["log_loss"].of_predictions(y, p))


def test_each_task_has_its_default_metric() -> None:
    assert get_metric(None, "regression").name == "rmse"
    assert get_metric(None, "classification").name == "brier"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rsme", "did you mean rmse? For regression there are rmse, mse, mae, r2"),
        ("accuracy", "does not fit regression"),
    ],
)
def test_an_unknown_or_unfit_metric_gets_the_fitting_names(name: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        get_metric(name, "regression")
    assert says in str(error.value)
    assert all(fitting in str(error.value) for fitting in names_for("regression"))
