"""The problem of a study: data, metric and search space, checked before anything is written."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from search.data.dataset import Dataset, load_again, load_dataset
from search.data.encoding import DEFAULT, Encoding, count_columns
from search.data.hints import column_hints
from search.environment import installed
from search.errors import DataError, StudyError, UsageError
from search.forest.growing import ENCODING
from search.forest.metrics import Metric, check_metric, get_metric
from search.forest.resampling import Resampling
from search.forest.training_set import PendingMatrix, TrainingSet, writable
from search.study.notes import EncodedColumns, Identity, StudyNotes, read_initialized, read_notes
from search.study.search_space import make_space
from search.study.spec import StudySpec, make_spec
from search.study.splitting import choose_resampling
from storage.errors import NotFoundError
from storage.redaction import redact
from storage.studies.study import FORMAT_VERSION, Study, StudyBook

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

_OUT_OF_BAG = "out-of-bag"
# Classes that are noted with their numbers of rows.
_MOST_CLASSES = 50


@dataclass(frozen=True)
class Problem:
    """A specification together with its data and everything that follows from them.

    Attributes
    ----------
    space
        Optuna's distributions by hyperparameter.
    notes
        A sentence for each choice that was made for the user.
    """

    spec: StudySpec
    dataset: Dataset
    metric: Metric
    space: dict[str, Any]
    resampling: Resampling
    notes: tuple[str, ...]

    def identity(self) -> Identity:
        """Return everything that decides the scores; it must not change if a study is continued."""
        from optuna.distributions import distribution_to_json

        return Identity(
            description=self.dataset.description,
            metric=self.metric.name,
            seed=self.spec.seed,
            evaluation=self.evaluation,
            space={name: distribution_to_json(d) for name, d in sorted(self.space.items())},
        )

    @cached_property
    def training_set(self) -> TrainingSet:
        """The training rows as workers receive them."""
        dataset = self.dataset
        choices: tuple[Encoding, ...] = getattr(self.space.get(ENCODING), "choices", ())
        encodings: dict[str, PendingMatrix] = {
            name: PendingMatrix(
                count_columns(dataset.vectorized, name, dataset.n_classes),
                partial(self._matrix, name),
            )
            for name in choices
            if name != DEFAULT
        }
        return TrainingSet(
            self._matrix(),
            dataset.y,
            dataset.n_classes,
            self.resampling,
            dataset.weights,
            encodings,
            positive=dataset.positive,
        )

    def _matrix(self, encoding: Encoding | None = None) -> "NDArray[Any]":
        rows = self.dataset.training_rows(encoding)
        return writable(rows.to_numpy(dtype="float32", copy=False))

    @property
    def evaluation(self) -> str:
        """The way trials are scored: ``out-of-bag``, or the number of folds as in ``5 folds``."""
        folds = len(self.resampling.folds)
        return f"{folds} folds" if folds else _OUT_OF_BAG


def load_problem(spec: StudySpec) -> Problem:
    """Read the data, unless the specification holds it, and make the problem on it.

    The notes of the problem include hints on columns.

    Raises
    ------
    UsageError, DataError
        When the specification contradicts the data, or nothing can be learned from the data.
    """
    dataset = load_dataset(
        spec.description, address=spec.address, table=spec.table, limits=spec.limits
    )
    problem = make_problem(spec, dataset)
    return replace(problem, notes=problem.notes + column_hints(dataset))


def make_problem(spec: StudySpec, dataset: Dataset) -> Problem:
    """Choose metric, space and resampling for a dataset; raises as `load_problem` does."""
    metric = get_metric(spec.metric, dataset.task).with_positive(dataset.positive)
    resampling, notes = choose_resampling(spec, dataset)
    voted, weights = resampling.test_mask(len(dataset.y)), dataset.weights
    own = None if weights is None else weights[voted]
    check_metric(metric, dataset.y[voted], dataset.n_classes, own)
    _check_encoded(dataset)
    n_rows, n_features = dataset.X.shape
    space = make_space(dataset.task, n_rows, n_features, spec.space, metric.name, dataset.encodings)
    _check_criterion(space, dataset)
    return Problem(spec, dataset, metric, space, resampling, dataset.notes + notes)


def _check_encoded(dataset: Dataset) -> None:
    """Refuse columns that turn out to be unusable once they are encoded as numbers."""
    if dataset.is_numeric:
        return
    sides = [dataset.X]
    if not dataset.X.shape[1]:
        raise DataError(f"{dataset.description.source}: no column holds anything to learn from")
    if len(dataset.held_out_y):
        sides.append(dataset.encode().transform(dataset.held_out_features))
    for X in sides:
        infinite = X.columns[np.isinf(X.to_numpy()).any(axis=0)]
        if len(infinite):
            sources = dataset.encode().sources
            name = next(name for name, columns in sources.items() if infinite[0] in columns)
            raise DataError(
                f"column '{name}' has infinite values: replace them, or leave them empty"
            )


def _check_criterion(space: "Mapping[str, BaseDistribution]", dataset: Dataset) -> None:
    """Refuse negative targets for the Poisson criterion.

    scikit-learn refuses them when it fits a forest, but not when it fits a single tree.
    """
    criteria = getattr(space.get("criterion"), "choices", ())
    if "poisson" in criteria and dataset.y.min() < 0:
        raise UsageError(
            "invalid [space] criterion = 'poisson': its target must not be negative, but "
            f"'{dataset.description.target}' has {dataset.y.min():g}"
        )


def reload_problem(study: Study, data: str | None = None, query: str | None = None) -> Problem:
    """Make the problem of a study again, from its stored identity.

    Parameters
    ----------
    data, query
        Address and query of its table, if they changed.

    Raises
    ------
    StudyError
        When the study was not made by this project.
    UsageError, DataError
        When the table cannot be read, or the problem cannot be made from it any more.
    """
    known = read_initialized(study).spec
    spec = make_spec(options_of(known) | {"study": study.name})
    return make_problem(spec, load_again(spec.description, data, query))


def options_of(known: Identity) -> dict[str, Any]:
    """Return the options that a study's identity came from, except for its search space."""
    fields = StudySpec.model_fields.keys()
    stored = known.model_dump()
    options = {name: value for name, value in stored.items() if name in fields and name != "space"}
    if known.evaluation == _OUT_OF_BAG:
        return options | {"evaluation": "oob"}
    return options | {"evaluation": "cv", "folds": int(known.evaluation.removesuffix(" folds"))}


def find_study(problem: Problem, storage: str) -> Study | None:
    """Open the problem's study if it exists; raise `StudyError` if it has another identity."""
    try:
        study = StudyBook(storage, scheduler=problem.spec.scheduler).open(problem.spec.study)
    except NotFoundError:
        return None
    _check_same(problem, study)
    return study


def create_study(problem: Problem, storage: str) -> Study:
    """Create the problem's study, without the notes that `initialize_study` writes."""
    from optuna.exceptions import DuplicatedStudyError

    book = StudyBook(storage, create=True, scheduler=problem.spec.scheduler)
    try:
        return book.make(problem.spec.study, problem.metric.direction)
    except DuplicatedStudyError:  # another launch created it in the meantime
        return book.open(problem.spec.study)


def initialize_study(problem: Problem, study: Study) -> None:
    """Store the problem's identity with its study, once; the caller holds the study's lease.

    Raises
    ------
    StudyError
        If the study has another identity; the message lists the differences.
    """
    if _check_same(problem, study):
        return
    if read_notes(study).uid is None:
        study.write(StudyNotes(uid=uuid.uuid4().hex))
    study.name_metric(problem.metric.name)
    dataset = problem.dataset
    study.write(
        StudyNotes(
            format_version=FORMAT_VERSION,
            started=datetime.now(UTC),
            experiment=problem.spec.experiment,
            rows=len(dataset.y) + len(dataset.held_out_y),
            numeric=dataset.is_numeric,
            columns=dataset.features.shape[1],
            encoded=_encoded_columns(dataset),
            classes=dict(islice(dataset.class_counts.items(), _MOST_CLASSES)) or None,
            versions=installed(),
        )
    )
    if problem.metric.guide is not None:
        study.write(StudyNotes(guide=problem.metric.guide))
    study.write(StudyNotes(spec=problem.identity()))


def _encoded_columns(dataset: Dataset) -> EncodedColumns:
    merged = _merged(dataset)
    if dataset.is_numeric:
        return EncodedColumns(merged=merged)
    table = dataset.vectorized
    return EncodedColumns(
        texts=list(table.texts),
        categories=[name for name in table.levels if name not in table.codes],
        codes=list(table.codes),
        few_levels=list(table.one_hot),
        merged=merged,
        together=_together(dataset),
    )


def _merged(dataset: Dataset) -> list[str]:
    """Return the names of the columns that `merge_values` changes."""
    before, after = dataset.X, dataset.training_rows()
    if after is before:
        return []
    return [str(name) for name in before.columns if not before[name].equals(after[name])]


def _together(dataset: Dataset) -> str | None:
    """Name the rows that `Dataset.encode` keeps together; see `cross_fitting`."""
    if dataset.roles.times is not None:
        return "periods of time"
    if dataset.roles.groups is not None:
        return "groups"
    return None if dataset.units is None else "repeated rows"


def _check_same(problem: Problem, study: Study) -> bool:
    """Return whether the study was initialized for this problem.

    Raises
    ------
    StudyError
        If it was initialized for another problem, or another program made it.
    """
    name, known = problem.spec.study, read_notes(study).spec
    if known is None:
        if study.trials() or study.direction != problem.metric.direction:
            raise StudyError(
                f"study '{name}' in {redact(study.book.url)} was not made by grovekeeper: give the "
                "study another name"
            )
        return False
    now, then = problem.identity().model_dump(), known.model_dump()
    classes = problem.dataset.classes
    if classes is not None and "positive" in now and "positive" not in then:
        then["positive"] = str(classes[-1])  # earlier versions always chose it
    differ = [
        f"{key} is {_short(now.get(key))}, was {_short(then.get(key))}"
        for key in then | now
        # The same table may have moved.
        if then.get(key) != now.get(key) and key not in {"data", "query"}
    ]
    if differ:
        msg = (
            f"study '{name}' was made with another specification: "
            f"{'; '.join(differ)}. Use the old specification, or give the study a new name"
        )
        raise StudyError(msg)
    return True


def _short(value: Any) -> str:
    text = str(value)
    limit = 60
    return text if len(text) <= limit else text[: limit - 1] + "…"
