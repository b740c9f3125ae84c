"""Records of studies that other programs created with Optuna, with one or several objectives."""

from collections.abc import Mapping
from datetime import UTC
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from storage.records import StudyRecord, StudyState, TrialRecord
from storage.studies.statistics import TrialStatistics
from storage.studies.trials import plain_record_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# MLflow's own Optuna storage uses the same names.
VALUE, GUIDE = "value", "intermediate_value"
_UID_LENGTH = 32
# Prefixes of the tags that identify and describe runs. User attributes must not change these tags.
_RESERVED = ("mlflow.", "grovekeeper.", "grovekeeper:", "optuna.")


def foreign_uid(study: "optuna.Study") -> str:
    """Return an id that distinguishes studies with the same name by the start of their first trial.

    The id is not stored with the study, because nothing is written to the studies of other
    programs. A copy of the study under another name has another id.
    """
    trials = study.get_trials(deepcopy=False)
    # The id must not depend on the time zone of the reader, so the time is converted to UTC.
    starts = (t.datetime_start.astimezone(UTC) for t in trials if t.datetime_start)
    started = next((str(start.replace(tzinfo=None)) for start in starts), "")
    return sha256(f"{study.study_name}\n{started}".encode()).hexdigest()[:_UID_LENGTH]


def foreign_trial(trial: "FrozenTrial") -> TrialRecord:
    """Return the record of a trial of another program's study, including its user attributes."""
    return plain_record_of(trial, attributes=_attributes(trial.user_attrs))


def foreign_study(study: "optuna.Study", uid: str, state: StudyState) -> StudyRecord:
    """Return the record of another program's study in its current state."""
    known = study.get_trials(deepcopy=False)
    trials = [plain_record_of(trial) for trial in known]
    started = [trial.started for trial in trials if trial.started]
    directions = [direction.name.lower() for direction in study.directions]
    first, *others = _metrics(study)
    statistics = TrialStatistics("minimize" if directions[0] == "minimize" else "maximize", trials)
    space = {name: str(value) for trial in known for name, value in trial.distributions.items()}
    single = not others
    return StudyRecord(
        name=study.study_name,
        uid=uid,
        metric=first,
        guide=GUIDE,
        state=state,
        params={"direction": ", ".join(directions)}
        | {f"space.{name}": value for name, value in space.items()},
        data=None,
        started=min(started),
        direction="minimize" if directions[0] == "minimize" else "maximize",
        others=tuple(others),
        hyperparameters=tuple(space),
        counts=dict(statistics.counts),
        best=tuple(statistics.best) if single else (),
        note=_note(statistics, state, first if single else None),
        attributes=_attributes(study.user_attrs),
    )


def _metrics(study: "optuna.Study") -> list[str]:
    """Return the metric names set in Optuna, else ``value``, or ``value_0``, ``value_1``, …."""
    count = len(study.directions)
    named = study.metric_names
    if named:
        return list(named)
    return [VALUE] if count == 1 else [f"{VALUE}_{place}" for place in range(count)]


def _note(statistics: TrialStatistics, state: StudyState, metric: str | None) -> str:
    """Describe the study in Markdown: its trials, and the best value if it has one metric."""
    counted = ", ".join(f"{n} {name}" for name, n in statistics.counts.items() if n)
    lines = [f"**{state}**: {counted}"]
    if metric is not None and statistics.champion is not None:
        best = statistics.champion
        lines.append(f"**Best**: trial {best.number}, {best.value:.5g}")
    return "\n".join(f"- {line}" for line in lines)


def _attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in attributes.items() if not k.startswith(_RESERVED)}
