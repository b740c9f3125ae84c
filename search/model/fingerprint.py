"""A digest of a fitted pipeline's state: equal for pipelines that predict the same, bit by bit.

Two files of the same pipeline differ in object ids and times. A digest of the file proves that
nobody changed it; this digest proves that a pipeline was reproduced.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

# Ids of the objects that contain a value.
Parents = tuple[int, ...]


def fingerprint(fitted: Any) -> str:
    """Return the SHA-256 of an object's state: of the values of arrays, and of all other parts.

    Memory addresses, the order of attributes and of set elements, and whether parts are shared do
    not affect it.
    """
    return _digest(fitted, ()).hex()


def _digest(value: Any, above: Parents) -> bytes:
    if id(value) in above:
        return _hash("again", str(len(above) - above.index(id(value))))
    inside = (*above, id(value))
    if isinstance(value, np.generic):
        value = value.item()
    for kinds, digest in _KINDS:
        if isinstance(value, kinds):
            return digest(value, inside)
    return _object(value, inside)


def _object(value: Any, inside: Parents) -> bytes:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__name__"):  # a function
        return _hash("function", value.__module__, value.__qualname__)
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return _hash("object", kind, reduced)
    # The constructor, its arguments, the state, and the items of a list or dictionary.
    _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    if isinstance(state, dict):  # scikit-learn's version does not affect predictions
        state = {name: part for name, part in state.items() if name != "_sklearn_version"}
    parts = [arguments, state, *(None if more is None else list(more) for more in (items, pairs))]
    return _hash("object", kind, *(_digest(part, inside) for part in parts))


def _array(value: "np.ndarray[Any, Any]", inside: Parents) -> bytes:
    if value.dtype.names:  # field by field, because the padding between fields has arbitrary values
        fields = (_array(value[name], inside) for name in value.dtype.names)
        return _hash("fields", repr(value.dtype.names), *fields)
    if value.dtype.kind == "O":
        return _hash("objects", repr(value.shape), *(_digest(v, inside) for v in value.ravel()))
    content = np.ascontiguousarray(value)
    return _hash("array", value.dtype.str, repr(value.shape), content.tobytes())


def _plain(value: Any, _: Parents) -> bytes:
    return _hash("plain", type(value).__name__, repr(value))


def _type(value: Any, _: Parents) -> bytes:
    return _hash("type", str(value))


def _mapping(value: Mapping[Any, Any], inside: Parents) -> bytes:
    pairs = sorted(_digest(k, inside) + _digest(v, inside) for k, v in value.items())
    return _hash("mapping", *pairs)


def _set(value: Set[Any], inside: Parents) -> bytes:
    return _hash("set", *sorted(_digest(item, inside) for item in value))


def _sequence(value: Sequence[Any], inside: Parents) -> bytes:
    return _hash("sequence", *(_digest(item, inside) for item in value))


def _hash(*parts: str | bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


_KINDS: tuple[tuple[Any, Callable[[Any, Parents], bytes]], ...] = (
    ((type(None), bool, int, float, complex, str, bytes), _plain),
    (np.ndarray, _array),
    ((np.dtype, type), _type),
    (Mapping, _mapping),
    (Set, _set),
    (Sequence, _sequence),
)
