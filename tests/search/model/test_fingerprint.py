"""The digest of a fitted pipeline."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from made import make_dataset

from search.forest.metrics import METRICS
from search.model.champion import make_champion
from search.model.fingerprint import fingerprint
from search.model.serialization import TRUSTED_TYPES

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture
def fit(mixed_csv: Path) -> Callable[..., Any]:
    def fit(seed: int = 0, leaf: int = 2) -> Any:
        houses = make_dataset(str(mixed_csv), "price", holdout=0.2)
        params = {"max_features": 0.5, "min_samples_leaf": leaf}
        return make_champion(houses, METRICS["rmse"], params, 10, seed, jobs=2).pipeline

    return fit


def test_the_version_of_scikit_learn_does_not_affect_it(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = fit()
    before = fingerprint(pipeline)
    monkeypatch.setattr("sklearn.base.__version__", "9.9.9")
    assert fingerprint(pipeline) == before


def test_a_refitted_saved_or_pickled_pipeline_has_the_same_fingerprint(
    fit: Callable[..., Any],
) -> None:
    pipeline = fit()
    digest = fingerprint(pipeline)
    assert fingerprint(fit()) == digest
    assert fingerprint(pickle.loads(pickle.dumps(pipeline))) == digest  # noqa: S301 our own
    saved = skops.io.dumps(pipeline)
    assert fingerprint(skops.io.loads(saved, trusted=list(TRUSTED_TYPES))) == digest


def test_another_seed_leaf_size_or_number_changes_it(
    fit: Callable[..., Any],
) -> None:
    pipeline = fit()
    digests = {fingerprint(p) for p in (pipeline, fit(seed=1), fit(leaf=3))}
    tree = pipeline.named_steps["forest"].estimators_[3].tree_
    tree.value[0] = np.nextafter(tree.value[0], np.inf)
    assert len(digests | {fingerprint(pipeline)}) == 4


@settings(max_examples=50)
@given(VALUES)
def test_equal_values_have_equal_digests(value: Any) -> None:
    assert fingerprint(value) == fingerprint(pickle.loads(pickle.dumps(value)))  # noqa: S301 our own


@settings(max_examples=50)
@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    same = fingerprint(one) == fingerprint(other)
    assert same == (repr(one) == repr(other) or _sorted(one) == _sorted(other))


def _sorted(value: Any) -> Any:
    """Compare values by `repr`, whatever the order of a dictionary."""
    if isinstance(value, dict):
        return ("dict", sorted((key, repr(_sorted(item))) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", [_sorted(item) for item in value])
    return repr(value)


def test_types_and_shapes_affect_it_and_padding_does_not() -> None:
    different = [1, 1.0, True, "1", b"1", None, [1], {1: 1}, {1}, np.array([1]), np.array([1.0])]
    different += [np.array([[1]]), np.array([1], dtype=np.int32), np.float32]
    assert len({fingerprint(value) for value in different}) == len(different)
    padded = np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8]})
    one, other = np.zeros(3, dtype=padded), np.zeros(3, dtype=padded)
    other.view("u1").reshape(3, 16)[:, 1:8] = 7
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint({2, 1}) == fingerprint({1, 2})
    assert fingerprint(np.float64(1.5)) == fingerprint(1.5)


def test_objects_that_contain_themselves_have_a_fingerprint() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [2]
    other.append(other)
    assert fingerprint(loop) != fingerprint(other)
