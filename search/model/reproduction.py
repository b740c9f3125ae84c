"""Trains a registered version or a trial again from its record, and compares bit by bit."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add

from search.data.dataset import load_again
from search.environment import changes
from search.errors import StudyError
from search.forest.growing import grow
from search.forest.oob import OobSums, evaluate_rung
from search.forest.rungs import Rung
from search.model.champion import predict
from search.model.fingerprint import fingerprint
from search.model.serialization import LoadedModel
from search.study.notes import read_initialized
from search.study.problem import Problem, reload_problem
from storage.records import TrialRecord
from storage.studies.study import Study

_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Reproduction:
    """Result of a reproduction.

    Attributes
    ----------
    compared
        The recorded and the reproduced value of everything that was compared.
    changed
        A sentence for each change in the data, the code or the libraries.
    """

    name: str
    compared: dict[str, tuple[object, object]]
    changed: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether all reproduced values equal the recorded ones."""
        return all(then == now for then, now in self.compared.values())


def reproduce_version(
    loaded: LoadedModel, data: str | None = None, query: str | None = None
) -> Reproduction:
    """Train a version again from its record, and compare its content and its predictions.

    Parameters
    ----------
    data, query
        Address and query of its table, if they changed.

    Raises
    ------
    UsageError, DataError
        If its table cannot be read.
    """
    provenance, version = loaded.provenance, loaded.version
    about = provenance.data
    dataset = load_again(about, data, query)
    changed = tuple(changes(provenance.versions))
    compared: dict[str, tuple[object, object]] = {
        "data": (about.digest, dataset.description.digest)
    }
    if dataset.description.digest == about.digest:
        champion = provenance.refit(dataset)
        compared["content"] = (provenance.content, fingerprint(champion.pipeline))
        held_out = len(dataset.held_out_y) > 0
        rows = dataset.held_out_features if held_out else dataset.features.head(_MOST_ROWS)
        then = predict(loaded.pipeline, rows, dataset.task)
        now = predict(champion.pipeline, rows, dataset.task)
        equal = int((then == now).reshape(len(rows), -1).all(axis=1).sum())
        compared["predictions"] = (f"{len(rows)} rows", f"{equal} rows")
    else:
        changed = (f"{dataset.description.source} has changed", *changed)
    return Reproduction(version.title, compared, changed)


def reproduce_trial(
    study: Study, number: int, data: str | None = None, query: str | None = None
) -> Reproduction:
    """Grow the trees of a trial again, and compare its scores.

    Raises
    ------
    StudyError
        If there is no such trial, or it has no score.
    UsageError, DataError
        If its table cannot be read.
    """
    trials = {trial.number: trial for trial in study.trials()}
    trial = trials.get(number)
    if trial is None:
        raise StudyError(f"study '{study.name}' has no trial {number}, only {len(trials)} trials")
    if trial.value is None or trial.steps is None:
        raise StudyError(
            f"trial {number} of study '{study.name}' is {trial.state}: it has no score"
        )
    grown = trial if trial.copies is None else trials[trial.copies]
    problem = reload_problem(study, data, query)
    notes, digest = read_initialized(study), problem.dataset.description.digest
    changed, then = tuple(changes(notes.versions)), notes.spec.description.digest
    compared: dict[str, tuple[object, object]] = {"data": (then, digest)}
    if digest == then:
        scores, value = _grow_again(problem, grown)
        compared["scores"] = (dict(trial.scores), scores)
        compared["value"] = (trial.value, value)
    else:
        changed = (f"{problem.dataset.description.source} has changed", *changed)
    return Reproduction(f"trial {number} of study '{study.name}'", compared, changed)


def _grow_again(problem: Problem, trial: TrialRecord) -> tuple[dict[int, float], float]:
    """Grow the trees of a trial again; return its scores by rung, and its value."""
    rows, seed = problem.training_set, problem.spec.seed
    sums: OobSums | None = None
    scores, value = {}, 0.0
    reached = [rung for rung in rows.rungs if rung.step in trial.scores]
    for before, rung in pairwise((Rung(0, 0, 0), *reached)):
        sample = rows.sample(rung.rows)
        chunks = range(before.step // rows.chunk, rung.step // rows.chunk)
        grown: Iterable[OobSums] = grow(sample, trial.params, seed, trial.place, chunks)
        # Another sample of the rows starts with new sums.
        grown = [sums, *grown] if sums is not None and before.rows == rung.rows else grown
        sums = reduce(add, grown)
        found = evaluate_rung(sums, sample, problem.metric.name, {})
        scores[rung.step], value = found.guide_score, found.score
    return scores, value
