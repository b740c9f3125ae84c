"""`TextFormat`: what the user says of a CSV or TSV file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextFormat:
    """What the user says of a text file.

    Attributes
    ----------
    decimal
        Decimal mark of its numbers; ``None`` to detect it.
    header
        Whether the first row holds the names of the columns. If not, they are x0, x1, ….
    """

    decimal: str | None = None
    header: bool = True
