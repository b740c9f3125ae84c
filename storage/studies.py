"""Optuna studies: create, open and list them, with what the project keeps beside their trials."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from storage import database, lease
from storage.errors import NotFoundError
from storage.records import DataRecord, StudyRecord, StudyState, TrialRecord, TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial

Direction = Literal["minimize", "maximize"]

# User attributes of a study; all values are JSON.
_PREFIX = "grovekeeper:"
# User attributes of a trial.
TREES = "n_estimators"
FIT_SECONDS = "fit_seconds"
REPEATS = "repeats"
REASON = "reason"
INTERRUPTED = "interrupted"
PLACE = "place"
CHAMPION_TREES = "champion_trees"


@dataclass(frozen=True)
class StudyBook:
    """The studies of one database.

    Parameters
    ----------
    url
        Address of Optuna's database.
    create
        Make what is missing; otherwise a missing database is a `NotFoundError`.
    """

    url: str
    create: bool = False

    @cached_property
    def rdb(self) -> "RDBStorage":
        """Optuna's storage itself."""
        return database.open_optuna(self.url, create=self.create)

    @cached_property
    def storage(self) -> "BaseStorage":
        """The same storage behind Optuna's cache of ended trials."""
        import optuna

        return optuna.storages.get_storage(self.rdb)

    def names(self) -> list[str]:
        """Names of all studies, sorted."""
        import optuna

        return sorted(optuna.get_all_study_names(self.storage))

    def open(self, name: str) -> "Study":
        """Open a study.

        Raises
        ------
        NotFoundError
            When there is none of that name; the message offers near ones.
        """
        import optuna

        try:
            study = optuna.load_study(study_name=name, storage=self.storage)
        except KeyError:
            names = self.names()
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "`grovekeeper studies` lists them"
            msg = f"there is no study '{name}' in {database.masked(self.url)}; {hint}"
            raise NotFoundError(msg) from None
        return Study(study, self)

    def make(self, name: str, direction: Direction) -> "Study":
        """Create a study; `optuna.exceptions.DuplicatedStudyError` if it is there."""
        import optuna

        study = optuna.create_study(study_name=name, storage=self.storage, direction=direction)
        made = Study(study, self)
        made.put("uid", uuid.uuid4().hex)
        return made


@dataclass(frozen=True)
class Study:
    """An Optuna study and the project's own notes on it."""

    optuna: "optuna.Study"
    book: StudyBook

    @property
    def name(self) -> str:
        """The study's name."""
        return self.optuna.study_name

    @property
    def direction(self) -> Direction:
        """Whether the study minimises or maximises its metric; of several the first."""
        return cast("Direction", self.optuna.directions[0].name.lower())

    @property
    def uid(self) -> str:
        """Identity of the study, also among studies of one name in several databases."""
        return cast("str", self.get("uid") or self.name)

    def get(self, key: str) -> Any:
        """Return one of the project's notes; ``None`` where there is none."""
        return self.optuna.user_attrs.get(_PREFIX + key)

    def notes(self) -> dict[str, Any]:
        """All of the project's notes, by key."""
        attributes = self.optuna.user_attrs
        return {k.removeprefix(_PREFIX): v for k, v in attributes.items() if k.startswith(_PREFIX)}

    def put(self, key: str, value: Any) -> None:
        """Keep a note that JSON can hold."""
        self.optuna.set_user_attr(_PREFIX + key, json.loads(json.dumps(value)))

    def lease(self) -> lease.LeaseRecord | None:
        """Return the coordinator's lease, live or dead."""
        return lease.read(self.book.rdb.engine, self.name)

    def state(self) -> StudyState:
        """Return the study's state; "lost" where its coordinator died without a word."""
        state = cast("StudyState", self.get("state") or "finished")
        if state != "running":
            return state
        holder = self.lease()
        return "running" if holder is not None and holder.alive else "lost"

    def begin_trial(
        self,
        params: Mapping[str, Any],
        distributions: "Mapping[str, BaseDistribution]",
        place: int,
        repeats: int | None,
    ) -> TrialRecord:
        """Enter a running trial, in one transaction."""
        import optuna

        attributes: dict[str, Any] = {PLACE: place}
        if repeats is not None:
            attributes[REPEATS] = repeats
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=attributes,
        )
        trial = self.book.storage.create_new_trial(self.optuna._study_id, template)
        return record_of(self.book.storage.get_trial(trial))

    def report(self, number: int, trees: int, score: float) -> None:
        """Enter a running trial's score at a number of trees."""
        self.book.storage.set_trial_intermediate_value(self._trial_id(number), trees, score)

    def end_trial(
        self,
        number: int,
        state: Literal["COMPLETE", "PRUNED", "FAIL"],
        value: float | None,
        attributes: Mapping[str, Any],
    ) -> TrialRecord:
        """End a running trial, with what is to be noted on it; `None` among that is left out."""
        from optuna.trial import TrialState as OptunaState

        trial, storage = self._trial_id(number), self.book.storage
        for key, attribute in attributes.items():
            if attribute is not None:
                storage.set_trial_user_attr(trial, key, attribute)
        values = None if value is None else [value]
        storage.set_trial_state_values(trial, OptunaState[state], values)
        return record_of(storage.get_trial(trial))

    def _trial_id(self, number: int) -> int:
        study = self.optuna._study_id
        return self.book.storage.get_trial_id_from_study_id_trial_number(study, number)

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [record_of(trial) for trial in self.optuna.get_trials(deepcopy=False)]


def record_of(trial: "FrozenTrial") -> TrialRecord:
    """Make the record of a trial as Optuna has it."""
    attributes: Mapping[str, Any] = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=cast("TrialState", trial.state.name),
        params=dict(trial.params),
        scores=dict(sorted(trial.intermediate_values.items())),
        value=trial.values[0] if trial.values else None,
        trees=attributes.get(TREES),
        fit_seconds=attributes.get(FIT_SECONDS),
        started=_utc(trial.datetime_start),
        ended=_utc(trial.datetime_complete),
        place=attributes.get(PLACE, trial.number),
        repeats=attributes.get(REPEATS),
        interrupted=attributes.get(INTERRUPTED, False),
        champion_trees=attributes.get(CHAMPION_TREES),
        reason=attributes.get(REASON),
    )


def _utc(time: datetime | None) -> datetime | None:
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=UTC)


def study_record(
    study: Study, notes: Mapping[str, Any], trials: list[TrialRecord], state: StudyState
) -> StudyRecord:
    """Make the record that a study's MLflow run shows, from its notes and trials."""
    spec = notes["spec"]
    space = {f"space.{name}": str(value) for name, value in spec["space"].items()}
    plain = {name: str(value) for name, value in spec.items() if name != "space"}
    return StudyRecord(
        name=study.name,
        uid=notes["uid"],
        metric=spec["metric"],
        state=state,
        params=plain | space,
        data=DataRecord(
            name=study.name,
            source=spec["data"],
            digest=spec["data_digest"],
            target=spec["target"],
            rows=notes["rows"],
            columns=notes["columns"],
        ),
        started=datetime.fromisoformat(notes["started"]),
        counts=counts(trials),
        best=improvements(trials, study.direction),
        holdout=notes.get("holdout") or {},
    )


def counts(trials: list[TrialRecord]) -> dict[str, int]:
    """Count trials by state, under the names that the command line prints."""
    names = {
        "complete": "COMPLETE",
        "pruned": "PRUNED",
        "failed": "FAIL",
        "running": "RUNNING",
        "waiting": "WAITING",
    }
    states = [trial.state for trial in trials]
    return {name: states.count(cast("TrialState", state)) for name, state in names.items()}


def best_of(trials: list[TrialRecord], direction: Direction) -> TrialRecord | None:
    """Return the complete trial of the best value; of equal ones the first."""
    complete = [t for t in trials if t.state == "COMPLETE" and t.value is not None]
    sign = 1 if direction == "minimize" else -1
    return min(complete, key=lambda t: sign * cast("float", t.value), default=None)


def improvements(trials: list[TrialRecord], direction: Direction) -> tuple[tuple[int, float], ...]:
    """Return how the best value came about, oldest first.

    Returns
    -------
    pairs of the highest trial number that had ended by then, and the best value so far
    """
    sign = 1 if direction == "minimize" else -1
    best: list[tuple[int, float]] = []
    highest = -1
    ended = [(trial.ended, trial.number, trial) for trial in trials if trial.ended is not None]
    for _, number, trial in sorted(ended, key=lambda entry: entry[:2]):
        highest = max(highest, number)
        if trial.state != "COMPLETE" or trial.value is None:
            continue
        if not best or sign * trial.value < sign * best[-1][1]:
            best.append((highest, trial.value))
    return tuple(best)
