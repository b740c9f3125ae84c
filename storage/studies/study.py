"""Create, open and list Optuna studies, and read and write the project's attributes of them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from storage import database
from storage.addresses import StoreAddress
from storage.errors import DatabaseError, NotFoundError, did_you_mean
from storage.leases.store import LeaseRecord, Leases, SqlLeases
from storage.records import Direction, StudyState, TrialRecord
from storage.studies.trials import attributes_of, record_of, template_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage, RDBStorage

    from storage.studies.dask_storage import ServedDatabase

_PREFIX = "grovekeeper:"
FORMAT_VERSION = 1


class StudyAttributes(BaseModel):
    """The project's user attributes of a study: one attribute per field, each with a JSON value.

    Subclasses add fields. Unknown attributes, which a later version may have written, are read as
    extra fields and never written.

    Attributes
    ----------
    format_version
        Increased when the meaning of a field changes; a new field does not require an increase.
    uid
        Distinguishes studies with the same name in several databases.
    stop
        Lease epoch of the coordinator that was asked to stop.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format_version: int = FORMAT_VERSION
    uid: str | None = None
    state: StudyState | None = None
    stop: int | None = None


A = TypeVar("A", bound=StudyAttributes)


@dataclass(frozen=True)
class StudyBook:
    """The studies of one database.

    Parameters
    ----------
    url
        Address of Optuna's database.
    create
        Create a missing database; otherwise a missing database raises `NotFoundError`.
    scheduler
        Address of the Dask scheduler that serves the database, if one does; default: Dask's own
        setting.
    """

    url: str
    create: bool = False
    scheduler: str | None = None

    @cached_property
    def rdb(self) -> "RDBStorage":
        """Optuna's storage on a database that this process opens directly."""
        return database.open_optuna(self.url, create=self.create)

    @cached_property
    def _served(self) -> "ServedDatabase | None":
        if not StoreAddress(self.url).is_served:
            return None
        from storage.studies.dask_storage import ServedDatabase

        return ServedDatabase(self.url, self.scheduler, create=self.create)

    @cached_property
    def storage(self) -> "BaseStorage":
        """Optuna's storage with its cache of ended trials, or the storage of a Dask scheduler."""
        import optuna

        return self._served.storage if self._served else optuna.storages.get_storage(self.rdb)

    @cached_property
    def leases(self) -> Leases:
        """Leases of the coordinators of the studies."""
        return self._served or SqlLeases(self.rdb.engine)

    def names(self) -> list[str]:
        """Names of all studies, sorted."""
        import optuna

        return sorted(optuna.get_all_study_names(self.storage))

    def open(self, name: str) -> "Study":
        """Open a study.

        Raises
        ------
        NotFoundError
            If no study has that name; the message suggests similar names.
        """
        import optuna

        try:
            study = optuna.load_study(study_name=name, storage=self.storage)
        except KeyError:
            hint = did_you_mean(name, self.names())
            raise NotFoundError(
                f"there is no study '{name}' in {StoreAddress(self.url)}{hint}: "
                "`grovekeeper studies` lists them"
            ) from None
        return Study(study, self)

    def make(self, name: str, direction: Direction) -> "Study":
        """Create a study; raise `optuna.exceptions.DuplicatedStudyError` if it exists."""
        import optuna

        study = optuna.create_study(study_name=name, storage=self.storage, direction=direction)
        return Study(study, self)


@dataclass(frozen=True)
class Study:
    """An Optuna study and the attributes that the project stores with it."""

    optuna: "optuna.Study"
    book: StudyBook

    @property
    def name(self) -> str:
        """The study's name."""
        return self.optuna.study_name

    @property
    def direction(self) -> Direction:
        """Direction of the study's metric, or of the first metric if there are several."""
        return cast("Direction", self.optuna.directions[0].name.lower())

    @property
    def metric(self) -> str:
        """Name of the study's (first) metric; "value" by default."""
        names = self.optuna.metric_names
        return names[0] if names else "value"

    @property
    def uid(self) -> str:
        """Unique id of a study that this project created."""
        return cast("str", self.read(StudyAttributes).uid)

    def name_metric(self, metric: str) -> None:
        """Set the name of the study's values in Optuna, which its dashboards display."""
        import warnings

        from optuna.exceptions import ExperimentalWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.optuna.set_metric_names([metric])

    def read(self, kind: type[A]) -> A:
        """Read the study's attributes; missing ones have the defaults of `kind`.

        Raises
        ------
        DatabaseError
            If a later version wrote them, or one does not have the expected type.
        """
        stored = self.optuna.user_attrs.items()
        values = {k.removeprefix(_PREFIX): v for k, v in stored if k.startswith(_PREFIX)}
        version = values.get("format_version", FORMAT_VERSION)
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise DatabaseError(
                f"study '{self.name}' has format {version}, and this version of grovekeeper reads "
                f"formats up to {FORMAT_VERSION}: install a newer one"
            )
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DatabaseError(
                f"cannot read the attribute {_PREFIX}{where} of study '{self.name}': {first['msg']}"
            ) from None

    def write(self, attributes: StudyAttributes) -> None:
        """Write the fields that are set, one after another in the order of their declaration."""
        values = attributes.model_dump(mode="json", exclude_unset=True)
        for name in type(attributes).model_fields:
            if name in values:
                self._put(name, values[name])

    def _put(self, name: str, value: Any) -> None:
        self.optuna.set_user_attr(_PREFIX + name, value)

    def delete(self) -> None:
        """Delete the study with all of its trials."""
        import optuna

        optuna.delete_study(study_name=self.name, storage=self.book.storage)

    def lease(self) -> LeaseRecord | None:
        """Return the coordinator's lease, whether it is live, dead or released."""
        return self.book.leases.read(self.name)

    def state(self) -> StudyState:
        """Return the study's state; "lost" if its coordinator died without writing a state."""
        state = self.read(StudyAttributes).state or "finished"
        if state != "running":
            return state
        holder = self.lease()
        return "running" if holder is not None and holder.alive else "lost"

    def ask_to_stop(self) -> LeaseRecord | None:
        """Ask the study's coordinator to stop.

        Returns
        -------
        lease of the coordinator that was asked; ``None`` if none runs. A dead coordinator is asked
        too, because the launch that succeeds it must stop as well
        """
        holder = self.lease()
        if holder is None or not (holder.alive or self.state() == "lost"):
            return None
        self.write(StudyAttributes(stop=holder.epoch))
        return holder

    def is_asked_to_stop(self, epoch: int) -> bool:
        """Return whether the coordinator of this epoch, and no other, was asked to stop."""
        return self.read(StudyAttributes).stop == epoch

    def enter_trial(
        self, record: TrialRecord, distributions: "Mapping[str, BaseDistribution]"
    ) -> TrialRecord:
        """Enter a new trial with all fields of its record in one transaction.

        Returns
        -------
        the record as it is in the database, with the number that Optuna assigned
        """
        storage = self.book.storage
        template = template_of(record, distributions)
        trial = storage.create_new_trial(self.optuna._study_id, template)
        return replace(record, number=storage.get_trial_number_from_id(trial))

    def report(self, number: int, step: int, score: float) -> None:
        """Enter a running trial's score at a step."""
        self.book.storage.set_trial_intermediate_value(self._trial_id(number), step, score)

    def end_trial(self, record: TrialRecord) -> TrialRecord:
        """End a running trial as in its record; return the record as it is in the database."""
        from optuna.trial import TrialState as OptunaState

        trial, storage = self._trial_id(record.number), self.book.storage
        for key, attribute in attributes_of(record).items():
            storage.set_trial_user_attr(trial, key, attribute)
        values = None if record.value is None else [record.value]
        storage.set_trial_state_values(trial, OptunaState[record.state], values)
        return record_of(storage.get_trial(trial))

    def find_trial(self, number: int) -> TrialRecord | None:
        """Return the trial of this number in the database; ``None`` if there is none."""
        try:
            return record_of(self.book.storage.get_trial(self._trial_id(number)))
        except KeyError:
            return None

    def _trial_id(self, number: int) -> int:
        study = self.optuna._study_id
        return self.book.storage.get_trial_id_from_study_id_trial_number(study, number)

    def trials(self, *, without: Container[int] = ()) -> list[TrialRecord]:
        """Return all trials sorted by number, except those with a number in `without`."""
        trials = self.optuna.get_trials(deepcopy=False)
        return [record_of(trial) for trial in trials if trial.number not in without]
