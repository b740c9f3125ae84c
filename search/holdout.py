"""Which rows are held out, decided by what a row holds and by nothing else.

A row's side follows from a hash of its canonical values without the target, so it stays on its side
when the table grows, is sorted, or gains equal rows; equal rows always stand on the same side.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

# Never to be changed: every row of every table would change sides.
_SALT = "grovekeeper-rows"  # 16 bytes, as pandas' keyed hash asks for


def _canonical(column: "pd.Series") -> "pd.Series":
    """Numbers and booleans as float64, everything else as text, missing values as one."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0.0 becomes 0.0
        numbers[np.isnan(numbers)] = np.nan
        return pd.Series(numbers)
    text = column.astype(object).where(column.notna(), "\0missing").map(str)
    return pd.Series(text.to_numpy(dtype=object))


def row_hashes(table: "pd.DataFrame") -> NDArray[np.uint64]:
    """Hash each row's values, whatever the order of columns and whether integers became floats.

    Returns
    -------
    array of shape (n_rows,)
    """
    import pandas as pd

    names = sorted(table.columns)
    frame = pd.concat([_canonical(table[name]) for name in names], axis=1, keys=names)
    hashes = pd.util.hash_pandas_object(frame, index=False, hash_key=_SALT, categorize=True)
    return np.asarray(hashes.to_numpy(dtype=np.uint64))


def held_out(table: "pd.DataFrame", share: float) -> NDArray[np.bool_]:
    """Choose about `share` of the rows by their hashes.

    Returns
    -------
    boolean array of shape (n_rows,)
    """
    # The finaliser of SplitMix64 (Steele, Lea, Flood 2014), since pandas' combination of columns
    # leaves its high bits less mixed than a comparison with a threshold needs.
    mixed = row_hashes(table)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed.astype(np.float64) < share * 2.0**64)


def table_digest(table: "pd.DataFrame") -> str:
    """Return the SHA-256 over a table's column names and canonical values, in the rows' order."""
    digest = hashlib.sha256()
    for name in sorted(table.columns):
        values = _canonical(table[name]).to_numpy()
        digest.update(f"{name}\0{values.dtype.kind}\0{len(values)}\0".encode())
        if values.dtype == np.float64:
            digest.update(values.tobytes())
        else:
            for text in values:
                content = text.encode("utf-8", "surrogatepass")
                digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
