"""Fuzz the table readers: any input must be read, or refused with a one-line error.

    pip install atheris
    python tests/fuzz/tables.py -max_total_time=600 -rss_limit_mb=4000

This is not a test: it runs until it is stopped. Inputs that it finds become examples in
tests/search. The first byte of an input selects the file name.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["search"]):
    from search.data.dataset import load_dataset
    from search.data.description import DataDescription
    from search.data.limits import Limits
    from search.errors import SearchError

_NAMES = ("t.csv", "t.tsv", "t.csv.gz", "t.parquet", "t")
_MAX_BYTES = 50_000_000
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
# A valid table. Without it, few inputs get past the header.
_SEED = b"\x00a,b,y\n" + b"".join(b"%d,x%d,%d.5\n" % (k, k % 3, k % 7) for k in range(40))


def one_input(data: bytes) -> None:
    """Read one input as a table."""
    if not data:
        return
    path = _FOLDER / _NAMES[data[0] % len(_NAMES)]
    path.write_bytes(data[1:])
    described = DataDescription(source=str(path), holdout=0.2)
    try:
        load_dataset(described, limits=Limits(max_bytes=_MAX_BYTES))
    except SearchError as refused:
        if "\n" in str(refused):
            raise ValueError(f"error with more than one line: {refused}") from refused


def main() -> None:
    """Fuzz, starting from a valid table."""
    warnings.simplefilter("ignore")
    corpus = _FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(_SEED)
    atheris.Setup([*sys.argv, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
