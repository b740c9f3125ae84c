"""A digest over what a fitted pipeline holds: equal for pipelines that predict the same to the bit.

Two files of one pipeline differ (object ids, times), so a digest of the file proves that nobody
changed it, and this one that it was made again.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

# Ids of the objects that a value is a part of.
Inside = tuple[int, ...]


def fingerprint(fitted: Any) -> str:
    """Return the SHA-256 over an object's state: arrays by their values, all else by its parts.

    An object's place in memory, the order of its attributes and of a set's elements, and how often
    one part is shared do not count.
    """
    return _digest(fitted, ()).hex()


def _digest(value: Any, above: Inside) -> bytes:
    if id(value) in above:
        return _hash("again", str(len(above) - above.index(id(value))))
    inside = (*above, id(value))
    if isinstance(value, np.generic):
        value = value.item()
    for kinds, digest in _KINDS:
        if isinstance(value, kinds):
            return digest(value, inside)
    return _object(value, inside)


def _object(value: Any, inside: Inside) -> bytes:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__name__"):  # a function
        return _hash("function", value.__module__, value.__qualname__)
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return _hash("object", kind, reduced)
    # Beside the constructor and its arguments: the state, and what a list or dictionary holds.
    _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    if isinstance(state, dict):  # scikit-learn notes its version there, which predicts nothing
        state = {name: part for name, part in state.items() if name != "_sklearn_version"}
    parts = [arguments, state, *(None if more is None else list(more) for more in (items, pairs))]
    return _hash("object", kind, *(_digest(part, inside) for part in parts))


def _array(value: "np.ndarray[Any, Any]", inside: Inside) -> bytes:
    if value.dtype.names:  # field by field: between them is padding, which holds anything
        fields = (_array(value[name], inside) for name in value.dtype.names)
        return _hash("fields", repr(value.dtype.names), *fields)
    if value.dtype.kind == "O":
        return _hash("objects", repr(value.shape), *(_digest(v, inside) for v in value.ravel()))
    content = np.ascontiguousarray(value)
    return _hash("array", value.dtype.str, repr(value.shape), content.tobytes())


def _plain(value: Any, _: Inside) -> bytes:
    return _hash("plain", type(value).__name__, repr(value))


def _type(value: Any, _: Inside) -> bytes:
    return _hash("type", str(value))


def _mapping(value: Mapping[Any, Any], inside: Inside) -> bytes:
    pairs = sorted(_digest(k, inside) + _digest(v, inside) for k, v in value.items())
    return _hash("mapping", *pairs)


def _set(value: Set[Any], inside: Inside) -> bytes:
    return _hash("set", *sorted(_digest(item, inside) for item in value))


def _sequence(value: Sequence[Any], inside: Inside) -> bytes:
    return _hash("sequence", *(_digest(item, inside) for item in value))


def _hash(*parts: str | bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


_KINDS: tuple[tuple[Any, Callable[[Any, Inside], bytes]], ...] = (
    ((type(None), bool, int, float, complex, str, bytes), _plain),
    (np.ndarray, _array),
    ((np.dtype, type), _type),
    (Mapping, _mapping),
    (Set, _set),
    (Sequence, _sequence),
)
