"""One run of MLflow's: the keys under which it keeps what has a name."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from storage.tracking.runs import key_of

NAMES = st.text(max_size=300) | st.text("./ a", max_size=6)


@given(NAMES)
def test_mlflow_takes_every_key(name: str) -> None:
    key = key_of(name)
    _validate_metric_name(key)
    _validate_param(key, "")
    _validate_tag(key, "")


@given(NAMES, NAMES)
def test_other_names_have_other_keys(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


def test_good_names_are_kept_and_of_others_what_is_good() -> None:
    for name in ("lr", "größe 1", "a/b.c-d:e"):
        assert key_of(name) == name
    assert key_of("lr[0]").startswith("lr_0_-")
    assert key_of("../x").startswith("_.._x-")
