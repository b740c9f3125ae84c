"""Keys under which MLflow stores metrics, params and tags of any name."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from storage.tracking.runs import key_of

NAMES = st.text(max_size=300) | st.text("./ a", max_size=6)


@given(NAMES)
def test_mlflow_accepts_every_key(name: str) -> None:
    key = key_of(name)
    _validate_metric_name(key)
    _validate_param(key, "")
    _validate_tag(key, "")


@given(NAMES, NAMES)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


def test_valid_names_are_unchanged_and_invalid_characters_are_replaced() -> None:
    for name in ("lr", "größe 1", "a/b.c-d:e"):
        assert key_of(name) == name
    assert key_of("lr[0]").startswith("lr_0_-")
    assert key_of("../x").startswith("_.._x-")
