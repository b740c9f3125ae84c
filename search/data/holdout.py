"""Selects the held-out rows by a hash of each row's values.

The target is not hashed. A row therefore stays on its side when the table grows, is sorted, or
gains equal rows, and equal rows are always on the same side. The only exceptions are a few rows of
a class that would be on one side only. Values are hashed one by one: a single text in a column of
numbers turns the whole column into text, and must not move the other rows.
"""

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Hashes = NDArray[np.uint64]

# Never change it: rows of every table would change sides.
_SALT = "grovekeeper-rows"  # pandas' keyed hash requires 16 bytes
_BOOLEANS = {"True": 1.0, "False": 0.0}


def _mix_bits(hashes: Hashes) -> Hashes:
    """Apply the finaliser of SplitMix64 (Steele, Lea, Flood 2014), which mixes all bits."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _value_hashes(column: "pd.Series") -> Hashes:
    """Hash each value: as a number if it can be parsed as one, else as text.

    Booleans are hashed as 1 and 0. All missing values have one hash.
    """
    import pandas as pd

    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return _number_hashes(numbers)
    is_text = isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)
    if not is_text and column.dtype.kind != "M":
        # Equal objects can have different texts: 0.5 and Fraction(1, 2).
        column = column.astype(object).map(str, na_action="ignore")
    # Parsing a text takes 50 times as long as finding it among the distinct texts.
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return np.asarray(_text_hashes(pd.Series(distinct))[codes])


def _text_hashes(column: "pd.Series") -> Hashes:
    import pandas as pd

    missing = column.isna().to_numpy()
    text = column.astype(object).where(~missing, "").map(str)
    parsed = pd.to_numeric(text.replace(_BOOLEANS), errors="coerce").to_numpy(dtype=np.float64)
    as_text = pd.util.hash_array(text.to_numpy(dtype=object), hash_key=_SALT, categorize=False)
    numeric = missing | ~np.isnan(parsed)
    return np.where(numeric, _number_hashes(parsed), as_text)


def _number_hashes(numbers: NDArray[np.float64]) -> Hashes:
    canonical = numbers + 0.0  # -0.0 becomes 0.0
    canonical[np.isnan(canonical)] = np.nan  # NaN has many bit patterns
    return _mix_bits(canonical.view(np.uint64))


def row_hashes(table: "pd.DataFrame") -> Hashes:
    """Hash each row; the order and the types of the columns do not matter.

    Returns
    -------
    array of shape (n_rows,)
    """
    combined = np.zeros(len(table), dtype=np.uint64)
    for name in sorted(table.columns):
        combined = _add_column(combined, name, _value_hashes(table[name]))
    return _mix_bits(combined)


def digest_and_row_hashes(table: "pd.DataFrame", keys: Collection[str]) -> tuple[str, Hashes]:
    """Return the digest of a table and the `row_hashes` of its columns `keys`.

    Each value is hashed once, and column by column: the hashes of all columns can take more memory
    than the table.

    Returns
    -------
    digest
        SHA-256 of the column names and of the values' hashes, in row order.
    hashes : array of shape (n_rows,)
    """
    digest = hashlib.sha256()
    combined = np.zeros(len(table), dtype=np.uint64)
    for name in sorted(table.columns):
        hashes = _value_hashes(table[name])
        digest.update(f"{name}\0{len(table)}\0".encode())
        digest.update(hashes.astype("<u8", copy=False).data)
        if name in keys:
            combined = _add_column(combined, name, hashes)
    return digest.hexdigest(), _mix_bits(combined)


def _add_column(combined: Hashes, name: str, hashes: Hashes) -> Hashes:
    import pandas as pd

    names = np.array([name], dtype=object)
    key = pd.util.hash_array(names, hash_key=_SALT, categorize=False)[0]
    return _mix_bits(combined + key) ^ hashes


def duplicate_codes(table: "pd.DataFrame") -> NDArray[np.intp] | None:
    """Return codes from 0 that are equal for equal rows, or ``None`` if all rows are distinct.

    Returns
    -------
    array of shape (n_rows,)
    """
    codes = np.unique(row_hashes(table), return_inverse=True)[1]
    return codes if codes.max() < len(codes) - 1 else None


def select_held_out(
    hashes: Hashes, share: float, classes: NDArray[np.intp] | None = None
) -> NDArray[np.bool_]:
    """Select about `share` of the rows by their hashes.

    Every class has rows on both sides, unless all its rows have one hash: the rows with its first
    hash are held out, and those with its last hash are not. This matters for rare classes only.

    Parameters
    ----------
    classes : array of shape (n_rows,)
        Classes as codes from 0; ``None`` in a regression.

    Returns
    -------
    boolean array of shape (n_rows,)
        True for held-out rows.
    """
    held_out = np.asarray(hashes.astype(np.float64) < share * 2.0**64)
    if classes is None:
        return held_out
    first = np.full(classes.max() + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, classes, hashes)
    last = np.zeros_like(first)
    np.maximum.at(last, classes, hashes)
    divided = first < last
    return (held_out | np.isin(hashes, first[divided])) & ~np.isin(hashes, last[divided])
