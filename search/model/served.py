"""Predicts raw rows with a saved model, after reading them as its training table was read.

A copy of this module is saved with each model, and MLflow imports it when it loads the model. It
must therefore import nothing of this project, and only what the model's requirements name.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

_logger = logging.getLogger(__name__)

# File in a model's folder: what its pipeline does not know of the training table.
TAUGHT_FILE = "taught.json"

# Texts in lower case that are a missing number, boolean or date.
_MISSING = frozenset(
    {"", "-", "?", "na", "n/a", "#na", "#n/a", "<na>", "nan", "-nan", "nat", "none", "null"}
)
# Texts that pandas, and so `mlflow models predict`, reads as missing in a CSV file.
_MISSING_IN_CSV = frozenset(
    {"NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "None", "<NA>", "#N/A", "#NA"}
)
_BOOLEANS = {"true": 1.0, "false": 0.0}
# A date with a month's name and a year of four digits.
_NAMED_MONTH = re.compile(
    r"(?=.*(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)).*\b\d{4}\b", re.IGNORECASE
)
# A text with a time and, at its end, a time zone.
_ZONED = re.compile(r"^(.*\d:\d\d.*?)\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$")
_UTC = re.compile(r"Z|UTC|GMT|[+-]00(?::?00)?")
# Seconds of the units in which a number can stand for a date.
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# A smaller number is a date only if the training table has such dates: it may as well be a year or
# a number of days.
_LEAST_NUMBER = 1e8
# First and last date, in seconds since 1970, of a table of which nothing is known.
_ANY_DATES = (0.0, 4e9)
# Lengths of dates such as 20240229 and 20240229123000, which are not numbers of seconds.
_DATE_DIGITS = (8, 14)
# Columns that a warning names, and characters of a value that a message quotes.
_MOST_NAMED, _MOST_QUOTED = 5, 40


class UnreadableError(ValueError):
    """A value cannot be read as what its column holds in the training table."""


class RowReader:
    """Reads raw rows as the training table of a pipeline was read.

    Numbers, booleans and dates may be texts, dates in any spelling of ISO 8601 or numbers of
    seconds, milliseconds, microseconds or nanoseconds since 1970, and categories may be numbers.

    Parameters
    ----------
    pipeline
        A fitted pipeline. Its step "table" is skrub's `SelectCols` if all columns are numbers, or
        else a `TableVectorizer`, perhaps within `ApplyToCols`, which leaves other columns of
        numbers as they are.
    taught
        ``missing``, the words that mean missing in the training table; ``booleans``, the names of
        its columns of booleans; ``dates``, the first and the last value of each column of dates,
        in seconds since 1970; ``rewritten``, by column the regular expressions, and what replaces
        their matches, that turned its text into numbers or dates. Each may be left out.
    """

    def __init__(self, pipeline: Any, taught: Mapping[str, Any]) -> None:
        from skrub import StringEncoder, ToDatetime

        table = pipeline.named_steps["table"]
        booleans, dates = frozenset(taught.get("booleans", ())), taught.get("dates", {})
        self._words: frozenset[Any] = frozenset(taught.get("missing", ()))
        numbers = (_number(word) for word in self._words)
        self._numbers = frozenset(number for number in numbers if number is not None)
        self._levels = dict(_levels(pipeline))
        self._rules = {
            name: [(re.compile(pattern), replacement) for pattern, replacement in rules]
            for name, rules in taught.get("rewritten", {}).items()
        }
        self._readers: dict[str, Callable[[pd.Series], pd.Series]] = {}
        vectorizer = getattr(table, "transformer_", table)
        names = getattr(table, "columns_", getattr(table, "all_inputs_", ()))
        kinds = dict.fromkeys(names, "numeric")
        kinds |= getattr(vectorizer, "column_to_kind_", {})
        for name, kind in kinds.items():
            steps = getattr(vectorizer, "all_processing_steps_", {}).get(name, ())
            if kind == "datetime":
                fitted = next(step for step in steps if isinstance(step, ToDatetime))
                read = partial(_read_dates, fitted=fitted, span=dates.get(name, _ANY_DATES))
            elif any(isinstance(step, StringEncoder) for step in steps):
                read = partial(_read_texts)
            elif kind in ("numeric", "specific"):
                read = partial(_read_numbers, is_boolean=name in booleans)
            else:
                read = partial(_read_categories, levels=self._levels.get(name, frozenset()))
            self._readers[name] = read

    def read(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows in types that the pipeline takes.

        Categories that are not in the training table are logged as a warning.

        Raises
        ------
        UnreadableError
            If a value is no number, boolean or date, and its column holds them.
        """
        changed: dict[str, pd.Series] = {}
        remarks: list[str] = []
        for name, read in self._readers.items():
            given = rows[name]
            column = read(self._rewritten(self._without_words(given)))
            if column is not given:
                changed[name] = column
            if name in self._levels:
                remarks += _remarks(column, self._levels[name])
        if remarks:
            more = len(remarks) - _MOST_NAMED
            rest = [f"and {more} more columns"] if more > 0 else []
            _logger.warning("%s", "; ".join([*remarks[:_MOST_NAMED], *rest]))
        if not changed:
            return rows
        columns = {name: changed.get(name, rows[name]) for name in rows.columns}
        return pd.DataFrame(columns, index=rows.index)

    def _without_words(self, column: pd.Series) -> pd.Series:
        """Return a column without the words that mean missing in the training table."""
        if not self._words:
            return column
        words = self._numbers if is_numeric_dtype(column) else self._words
        if column.dtype == object:
            words = self._words | self._numbers
        missing = column.isin(words)
        return column.mask(missing) if missing.any() else column

    def _rewritten(self, column: pd.Series) -> pd.Series:
        """Return a column with its text rewritten as that of the training table was."""
        rules = self._rules.get(str(column.name))
        if rules is None or is_numeric_dtype(column) or is_datetime64_any_dtype(column):
            return column

        def rewrite(value: Any) -> Any:
            if isinstance(value, str):
                for pattern, replacement in rules:
                    value = pattern.sub(replacement, value)
            return value

        return column.astype(object).map(rewrite)


def _levels(pipeline: Any) -> Iterator[tuple[str, frozenset[Any]]]:
    """Yield each column of categories, and its categories without missing values."""
    encoder = pipeline.named_steps.get("categories")
    for _, fitted, columns in getattr(encoder, "transformers_", ()):
        for name, levels in zip(columns, getattr(fitted, "categories_", ()), strict=False):
            yield name, frozenset(pd.Series(levels, dtype=object).dropna())


def _remarks(column: pd.Series, levels: frozenset[Any]) -> Iterator[str]:
    """Yield what a user should know of a column of categories."""
    missing = column.isna()
    unknown = ~missing & ~column.isin(levels)
    if unknown.any():
        yield f"column '{column.name}': {_first(column, unknown)} is no category of the model"
    words = levels & _MISSING_IN_CSV
    if words and missing.any():
        yield (
            f"column '{column.name}' has missing values, and '{min(words)}' is a category of the "
            "model: if the rows were read from CSV, this word was read as missing"
        )


def _first(column: pd.Series, chosen: pd.Series) -> str:
    """Return the first chosen value, its row, and the number of the others."""
    places = np.flatnonzero(chosen)
    others = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{str(column.iloc[places[0]])[:_MOST_QUOTED]!r} in row {places[0] + 1}{others}"


def _refuse(column: pd.Series, unreadable: pd.Series, what: str) -> None:
    if unreadable.any():
        raise UnreadableError(
            f"column '{column.name}' holds {what}: cannot read {_first(column, unreadable)}"
        )


def _number(value: Any) -> float | None:
    """Return a number or a boolean, perhaps written as text, as a number."""
    text = str(value).strip().casefold()
    try:
        return _BOOLEANS[text] if text in _BOOLEANS else float(text)
    except ValueError:
        return None


def _are_missing(values: pd.Series) -> pd.Series:
    texts = values.map(lambda value: isinstance(value, str) and value.strip().casefold())
    return values.isna() | texts.isin(_MISSING)


def _read_numbers(column: pd.Series, *, is_boolean: bool) -> pd.Series:
    """Read numbers, or booleans as 1 and 0."""
    what = "booleans (true and false)" if is_boolean else "numbers"
    numbers = column
    if not is_numeric_dtype(column):
        values = column.astype(object)
        missing = _are_missing(values)
        plain = values.mask(missing, None).map(partial(_plain, is_boolean=is_boolean))
        numbers = pd.to_numeric(plain, errors="coerce").astype(np.float64)
        _refuse(column, numbers.isna() & ~missing, what)
    if is_boolean:
        _refuse(column, numbers.notna() & ~numbers.isin([0, 1]), what)
    return numbers


def _plain(value: Any, *, is_boolean: bool) -> Any:
    """Return a value as `pandas.to_numeric` reads it."""
    if isinstance(value, bool | np.bool_):
        return float(value)
    if value is None or isinstance(value, int | float | np.number):
        return value
    text = str(value).strip()
    return _BOOLEANS.get(text.casefold(), text) if is_boolean else text


def _read_texts(column: pd.Series) -> pd.Series:
    """Read texts, which may be numbers."""
    if isinstance(column.dtype, pd.StringDtype):
        return column
    return column.astype(object).map(_as_text, na_action="ignore").astype("str")


def _as_text(value: Any) -> str:
    # Whole numbers are float if others in their column are missing.
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)


def _read_categories(column: pd.Series, levels: frozenset[str]) -> pd.Series:
    """Read categories: a number or boolean becomes the category that is written otherwise."""
    alike: dict[float | None, list[str]] = {}
    for level in levels:
        alike.setdefault(_number(level), []).append(level)
    alike.pop(None, None)

    def spelled(value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        text = _as_text(value)
        found = [text] if text in levels else alike.get(_number(text), ())
        return found[0] if len(found) == 1 else text

    return column.astype(object).map(spelled, na_action="ignore")


def _read_dates(column: pd.Series, fitted: Any, span: tuple[float, float]) -> pd.Series:
    """Read dates; they have a time zone if those of the training table have one.

    If so, dates without a time zone are in UTC. If not, time zones are left out.

    Parameters
    ----------
    fitted
        The skrub `ToDatetime` that read the training table.
    span
        First and last date of the training table, in seconds since 1970.
    """
    zoned = fitted.output_time_zone_ is not None
    if is_datetime64_any_dtype(column):
        return column if zoned or column.dt.tz is None else column.dt.tz_localize(None)
    values = column.astype(object)
    missing = _are_missing(values).to_numpy()
    numbers = values.map(_is_number_of_seconds).to_numpy(dtype=bool) & ~missing
    is_text = values.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    texts = is_text & ~numbers & ~missing
    found = pd.Series(pd.NaT, column.index, dtype="datetime64[us, UTC]", name=column.name)
    for chosen, read in (
        (numbers, partial(_from_numbers, span=span)),
        (texts, partial(_from_texts, taught=fitted.format_, zoned=zoned)),
        (~(numbers | texts | missing), partial(_from_objects, zoned=zoned)),
    ):
        if chosen.any():
            found[chosen] = read(values[chosen]).array
    written = f", as {fitted.format_}" if fitted.format_ else ""
    what = f"dates (as 2024-02-29T12:30:00{written}, or in seconds or milliseconds since 1970)"
    _refuse(column, found.isna() & ~missing, what)
    return found if zoned else found.dt.tz_localize(None)


def _is_number_of_seconds(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip()
        return text.isdecimal() and len(text) not in _DATE_DIGITS
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _from_numbers(values: pd.Series, span: tuple[float, float]) -> pd.Series:
    """Read numbers in the unit in which they are nearest to the dates of the training table."""
    numbers = values.astype(np.float64)

    def distances(unit: str) -> pd.Series:
        seconds = numbers * _UNITS[unit]
        return (seconds - seconds.clip(*span)).abs()

    unit = min(_UNITS, key=lambda unit: distances(unit).max())
    unclear = (numbers.abs() < _LEAST_NUMBER) & (distances(unit) > 0)
    return pd.to_datetime(numbers.mask(unclear), unit=unit, utc=True, errors="coerce")


def _from_texts(values: pd.Series, taught: str | None, *, zoned: bool) -> pd.Series:
    """Read texts in the format of the training table, in ISO 8601, or with the month's name."""
    texts = values.str.strip()
    if not zoned:
        parts = texts.str.extract(_ZONED)
        if (parts[1].notna() & ~parts[1].str.fullmatch(_UTC, na=True)).any():
            _logger.warning(
                "column '%s': time zones are left out, because the dates of the training table "
                "have none",
                values.name,
            )
        texts = parts[0].fillna(texts)
    day = (taught or "%Y-%m-%d").partition("%H")[0].rstrip(" T")
    formats = [*([taught] if taught else []), "ISO8601"]
    formats += [day, f"{day} %H:%M", f"{day} %H:%M:%S", "mixed"]
    found = pd.Series(pd.NaT, texts.index, dtype="datetime64[us, UTC]")
    is_date = texts.str.contains(r"\d").to_numpy(dtype=bool)  # pandas reads "now" as well
    for name in formats:
        rest = found.isna().to_numpy() & is_date
        if name == "mixed":
            rest = rest & texts.str.match(_NAMED_MONTH).to_numpy(dtype=bool)
        if rest.any():
            found[rest] = pd.to_datetime(texts[rest], format=name, utc=True, errors="coerce").array
    return found


def _from_objects(values: pd.Series, *, zoned: bool) -> pd.Series:
    """Read objects such as `datetime.date` and `pandas.Timestamp`."""

    def stamp(value: Any) -> Any:
        try:
            found = pd.NaT if isinstance(value, bool) else pd.Timestamp(value)
        except (TypeError, ValueError):
            return pd.NaT
        return found if zoned or found is pd.NaT else found.tz_localize(None)

    return pd.to_datetime(values.map(stamp), utc=True)


class ServedModel:
    """What MLflow calls to predict."""

    def __init__(self, pipeline: Any, reader: RowReader) -> None:
        self._pipeline = pipeline
        self._reader = reader

    def predict(self, rows: pd.DataFrame) -> NDArray[Any]:
        """Predict raw rows.

        Raises
        ------
        mlflow.exceptions.MlflowException
            If a value cannot be read; a server answers with status 400.
        """
        from mlflow.exceptions import MlflowException
        from sklearn import config_context

        try:
            read = self._reader.read(rows)
        except UnreadableError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        with config_context(transform_output="default"):
            return np.asarray(self._pipeline.predict(read))

    def get_raw_model(self) -> Any:
        """Return the scikit-learn pipeline, for `mlflow.pyfunc.PyFuncModel.get_raw_model`."""
        return self._pipeline


def _load_pyfunc(path: str) -> ServedModel:
    """Load the model of a folder; MLflow calls it."""
    import mlflow.sklearn

    pipeline = mlflow.sklearn.load_model(path)
    return ServedModel(pipeline, RowReader(pipeline, read_taught(Path(path))))


def read_taught(folder: Path) -> dict[str, Any]:
    """Return what is known of the training table of the model in a folder."""
    file = folder / TAUGHT_FILE
    return json.loads(file.read_text()) if file.exists() else {}
