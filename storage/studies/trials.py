"""Convert Optuna's trials to records and back; no other module does so."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from storage.records import Span, TrialRecord, TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# Names of the user attributes of a trial. They must not change, since stored trials use them.
STEPS = "n_estimators"
FIT_SECONDS = "fit_seconds"
REPEATS = "repeats"
COPIES = "copies"
REASON = "reason"
INTERRUPTED = "interrupted"
GIVEN_UP = "given_up"
PLACE = "place"
ENOUGH_STEPS = "enough_trees"
COVERED = "covered"
BLOCKS = "blocks"
ROWS = "rows"
MODEL_BYTES = "model_bytes"
MODEL_STEPS = "model_trees"
SPANS = "spans"


def template_of(
    record: TrialRecord, distributions: "Mapping[str, BaseDistribution]"
) -> "FrozenTrial":
    """Return the trial to enter for a record; Optuna assigns its number and its id."""
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState as OptunaState

    return FrozenTrial(
        number=-1,
        state=OptunaState[record.state],
        value=record.value,
        datetime_start=record.started,
        datetime_complete=record.ended,
        params=dict(record.params),
        distributions=dict(distributions),
        user_attrs=attributes_of(record),
        system_attrs={},
        intermediate_values=dict(record.scores),
        trial_id=-1,
    )


def attributes_of(record: TrialRecord) -> dict[str, Any]:
    """Return the user attributes that hold the fields of a record that Optuna does not store."""
    attributes = {
        PLACE: None if record.place == record.number else record.place,
        REPEATS: record.repeats,
        COPIES: record.copies,
        STEPS: record.steps,
        FIT_SECONDS: record.fit_seconds,
        ENOUGH_STEPS: record.enough_steps,
        COVERED: record.covered,
        ROWS: record.rows,
        MODEL_BYTES: record.model_bytes,
        MODEL_STEPS: record.model_steps,
        BLOCKS: None if record.blocks is None else dict(record.blocks),
        SPANS: [list(span) for span in record.spans] or None,
        REASON: record.reason,
        INTERRUPTED: record.interrupted or None,
        GIVEN_UP: record.given_up or None,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def plain_record_of(trial: "FrozenTrial", **fields: Any) -> TrialRecord:
    """Return the record of any Optuna trial, with additional `fields`."""
    values = trial.values or ()
    return TrialRecord(
        number=trial.number,
        state=cast("TrialState", trial.state.name),
        params=dict(trial.params),
        scores=dict(sorted(trial.intermediate_values.items())),
        value=values[0] if values else None,
        others=tuple(values[1:]),
        feasible=all(broken <= 0 for broken in trial.constraints.values()),
        started=_utc(trial.datetime_start),
        ended=_utc(trial.datetime_complete),
        **fields,
    )


def record_of(trial: "FrozenTrial") -> TrialRecord:
    """Return the record of a trial of this project, with the fields in its user attributes."""
    attributes: Mapping[str, Any] = trial.user_attrs
    record = plain_record_of(
        trial,
        steps=_attribute(attributes, STEPS, int),
        fit_seconds=_attribute(attributes, FIT_SECONDS, int | float),
        place=_attribute(attributes, PLACE, int, trial.number),
        repeats=_attribute(attributes, REPEATS, int),
        copies=_attribute(attributes, COPIES, int),
        interrupted=_attribute(attributes, INTERRUPTED, bool, False),
        given_up=_attribute(attributes, GIVEN_UP, bool, False),
        enough_steps=_attribute(attributes, ENOUGH_STEPS, int),
        covered=_attribute(attributes, COVERED, int | float),
        rows=_attribute(attributes, ROWS, int),
        model_bytes=_attribute(attributes, MODEL_BYTES, int),
        model_steps=_attribute(attributes, MODEL_STEPS, int),
        blocks=_blocks(_attribute(attributes, BLOCKS, dict)),
        spans=_spans(_attribute(attributes, SPANS, list, [])),
        reason=_attribute(attributes, REASON, str),
    )
    if record.state in {"COMPLETE", "PRUNED"}:
        return record
    # The coordinator may have died while it wrote the attributes of the trial's end one by one.
    ended = replace(record, steps=None, fit_seconds=None, enough_steps=None, covered=None)
    return ended if record.interrupted else replace(ended, blocks=None)


def _attribute(attributes: Mapping[str, Any], key: str, kind: Any, otherwise: Any = None) -> Any:
    """Return an attribute; ignore a value of another type, which another program has written."""
    value = attributes.get(key)
    return value if isinstance(value, kind) else otherwise


def _blocks(attribute: Mapping[str, list[float]] | None) -> dict[int, tuple[float, ...]] | None:
    if attribute is None or not all(isinstance(row, list) for row in attribute.values()):
        return None
    return {int(step): tuple(row) for step, row in attribute.items() if step.isdecimal()}


def _spans(attribute: list[Any]) -> tuple[Span, ...]:
    n_fields = len(Span._fields)
    return tuple(Span(*s) for s in attribute if isinstance(s, list) and len(s) == n_fields)


def _utc(time: datetime | None) -> datetime | None:
    """Convert a time from Optuna, which is naive and in the local time zone, to UTC."""
    return None if time is None else time.astimezone(UTC)
