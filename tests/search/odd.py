"""What is said of odd tables."""

from search.bounds import Bounds
from search.dataset import load_dataset
from search.errors import SearchError


def said_of(source: str, target: str | None) -> str:
    """Read a table and divide it; return the error's words, if any. Other errors fail the test."""
    try:
        load_dataset(source, target, None, 0.0, bounds=Bounds(max_bytes=10**9))
    except SearchError as error:
        return str(error)
    return ""
