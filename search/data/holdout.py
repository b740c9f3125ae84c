"""Which rows are held out, decided by what a row holds and by nothing else.

A row's side follows from a hash of its values without the target, so it stays on its side when the
table grows, is sorted, or gains equal rows; equal rows always stand on the same side. Each value is
hashed by itself: one odd value in a column of numbers makes text of the whole column, and must not
move the other rows.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Hashes = NDArray[np.uint64]

# Never to be changed: every row of every table would change sides.
_SALT = "grovekeeper-rows"  # 16 bytes, as pandas' keyed hash asks for
_LOGICAL = {"True": 1.0, "False": 0.0}


def _mixed(hashes: Hashes) -> Hashes:
    """Return the finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit depends on all."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _value_hashes(column: "pd.Series") -> Hashes:
    """Hash each value: what reads as a number as that number, all else as its text.

    Logical values are the numbers 1 and 0, missing values are one value of their own.
    """
    import pandas as pd

    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return _number_hashes(numbers)
    missing = column.isna().to_numpy()
    text = column.astype(object).where(~missing, "").map(str)
    parsed = pd.to_numeric(text.replace(_LOGICAL), errors="coerce").to_numpy(dtype=np.float64)
    as_text = pd.util.hash_array(text.to_numpy(dtype=object), hash_key=_SALT)
    numeric = missing | ~np.isnan(parsed)
    return np.where(numeric, _number_hashes(parsed), as_text)


def _number_hashes(numbers: NDArray[np.float64]) -> Hashes:
    plain = numbers + 0.0  # -0.0 becomes 0.0
    plain[np.isnan(plain)] = np.nan  # one of the many that are not numbers
    return _mixed(plain.view(np.uint64))


def row_hashes(table: "pd.DataFrame") -> Hashes:
    """Hash each row's values by their columns' names, whatever the columns' order and types.

    Returns
    -------
    array of shape (n_rows,)
    """
    import pandas as pd

    combined = np.zeros(len(table), dtype=np.uint64)
    for name in sorted(table.columns):
        key = pd.util.hash_array(np.array([name], dtype=object), hash_key=_SALT)[0]
        combined = _mixed(combined + key) ^ _value_hashes(table[name])
    return _mixed(combined)


def repeated_rows(table: "pd.DataFrame") -> NDArray[np.intp] | None:
    """Return the number of each row among the distinct ones; ``None`` where all are distinct.

    Returns
    -------
    array of shape (n_rows,)
    """
    found = np.unique(row_hashes(table), return_inverse=True)[1]
    return found if found.max() < len(found) - 1 else None


def held_out(table: "pd.DataFrame", share: float) -> NDArray[np.bool_]:
    """Choose about `share` of the rows by their hashes.

    Returns
    -------
    boolean array of shape (n_rows,)
    """
    return np.asarray(row_hashes(table).astype(np.float64) < share * 2.0**64)


def table_digest(table: "pd.DataFrame") -> str:
    """Return the SHA-256 over a table's column names and its values' hashes, in the rows' order."""
    digest = hashlib.sha256()
    for name in sorted(table.columns):
        digest.update(f"{name}\0{len(table)}\0".encode())
        digest.update(_value_hashes(table[name]).astype("<u8").tobytes())
    return digest.hexdigest()
