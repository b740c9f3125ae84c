"""Makes a registered version or a trial's score again from its record, and compares to the bit."""

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
from search.model.champion import predict
from search.model.fingerprint import fingerprint
from search.model.serialization import LoadedModel
from search.study.problem import Problem, reload_problem
from storage.records import TrialRecord
from storage.studies.study import Study

_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Reproduction:
    """What was made again, and how it compares.

    Attributes
    ----------
    compared
        Each thing that was compared: what is on record and what came out now.
    changed
        What of the data, the code or the libraries is another than it was, a sentence each.
    """

    name: str
    compared: dict[str, tuple[object, object]]
    changed: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether everything came out as it is on record."""
        return all(then == now for then, now in self.compared.values())


def reproduce_version(
    loaded: LoadedModel, data: str | None = None, query: str | None = None
) -> Reproduction:
    """Refit a version from its record, and compare its content and its predictions.

    Parameters
    ----------
    data, query
        Where its table stands now, if not where its study found it.

    Raises
    ------
    UsageError, DataError
        When its table is not to be had.
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
        changed = (f"{dataset.description.source} holds other values than it did", *changed)
    return Reproduction(version.title, compared, changed)


def reproduce_trial(
    study: Study, number: int, data: str | None = None, query: str | None = None
) -> Reproduction:
    """Grow a trial's trees again, and compare its scores.

    Raises
    ------
    StudyError
        When there is no such trial, or it has no score.
    UsageError, DataError
        When its table is not to be had.
    """
    trials = {trial.number: trial for trial in study.trials()}
    trial = trials.get(number)
    if trial is None:
        raise StudyError(f"study '{study.name}' has no trial {number}: it has {len(trials)}")
    if trial.value is None or trial.trees is None:
        raise StudyError(
            f"trial {number} of study '{study.name}' is {trial.state}: it has no score"
        )
    grown = trial if trial.copies is None else trials[trial.copies]
    problem = reload_problem(study, data, query)
    spec, digest = study.get("spec"), problem.dataset.description.digest
    changed = tuple(changes(study.get("versions") or {}))
    compared: dict[str, tuple[object, object]] = {"data": (spec["data_digest"], digest)}
    if digest == spec["data_digest"]:
        scores, value = _grow_again(problem, grown)
        compared["scores"] = (dict(trial.scores), scores)
        compared["value"] = (trial.value, value)
    else:
        changed = (f"{problem.dataset.description.source} holds other values than it did", *changed)
    return Reproduction(f"trial {number} of study '{study.name}'", compared, changed)


def _grow_again(problem: Problem, trial: TrialRecord) -> tuple[dict[int, float], float]:
    """Return a trial's scores at its rungs, and its value, of trees grown anew."""
    rows, seed = problem.training_set, problem.spec.seed
    sums: OobSums | None = None
    scores, value = {}, 0.0
    for first, last in pairwise((0, *sorted(trial.scores))):
        chunks = range(first // rows.chunk, last // rows.chunk)
        grown: Iterable[OobSums] = grow(rows, trial.params, seed, trial.place, chunks)
        sums = reduce(add, grown if sums is None else [sums, *grown])
        found = evaluate_rung(sums, rows, problem.metric.name, {})
        scores[last], value = found.guide_score, found.score
    return scores, value
