"""Proposes hyperparameters with an Optuna sampler on an in-memory study of bounded size.

A sampler reads all trials at each ask. Reading them from a database costs more than growing a
forest on a small table, so the sampler gets an in-memory study that is rebuilt from the finished
trials. Its size is bounded, so that an ask takes the same time after ten thousand trials.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from search.forest.growing import derive_seed
from storage.records import Direction, TrialRecord, sign

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# Only the best and the newest trials are kept when the in-memory study has this many finished ones.
_MAX_TRIALS = 300
_N_BEST, _N_NEWEST = 60, 140
# Attempts to find a forest that was not grown before: by the sampler, then at random. Search spaces
# with at most _MAX_POINTS points are searched exhaustively after that.
_SAMPLER_ATTEMPTS, _RANDOM_ATTEMPTS = 2, 12
_MAX_POINTS = 1000
# Distinguishes the seeds of proposals from the seeds of chunks, whose path is (place, chunk).
_ASK = 2**32 - 2


@dataclass(frozen=True)
class Proposal:
    """Hyperparameters for the trial at a place in the search.

    Attributes
    ----------
    duplicate_of
        Place of an earlier trial with the same forest; ``None`` if the forest is new.
    """

    place: int
    params: Mapping[str, Any]
    duplicate_of: int | None = None


class Proposer:
    """Proposes hyperparameters for trials.

    The proposals depend on the seed, the place and the finished and running trials only.

    Parameters
    ----------
    space
        Distributions of the hyperparameters by name.
    forest_key
        Function that returns equal keys for hyperparameters that make the same forest.
    seed
        The study's seed.
    known
        Finished trials (complete or pruned) of earlier launches.
    given_up
        Trials that failed for good; their forests are not proposed again.
    """

    def __init__(
        self,
        direction: Direction,
        space: Mapping[str, "BaseDistribution"],
        forest_key: Callable[[Mapping[str, Any]], Hashable],
        seed: int,
        known: Iterable[TrialRecord],
        given_up: Iterable[TrialRecord] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._direction = direction
        self._space = dict(space)
        self._points = _list_points(space)
        self._forest_key = forest_key
        self._seed = seed
        self._finished: list[FrozenTrial] = []
        self._running: dict[int, Mapping[str, Any]] = {}
        self._running_numbers: dict[int, int] = {}
        # Place of the first trial of each forest.
        self._places: dict[Hashable, int] = {}
        self._excluded = {forest_key(record.params) for record in given_up}
        for record in sorted(known, key=lambda record: record.place):
            self._places.setdefault(forest_key(record.params), record.place)
            self._remember(self._frozen(record))
        self._rebuild()

    def propose(self, place: int, params: Mapping[str, Any] | None = None) -> Proposal:
        """Return the proposal for the trial at `place`, with `params` if they are given."""
        if params is None:
            params = self._ask(place)
        self._running[place] = params
        self._add_running(place)
        first = self._places.setdefault(self._forest_key(params), place)
        return Proposal(place, params, None if first == place else first)

    def is_running(self, place: int) -> bool:
        """Whether the trial at a place was proposed, and has neither finished nor failed."""
        return place in self._running

    def finish(self, record: TrialRecord) -> None:
        """Add a trial that is complete or pruned."""
        self.forget(record.place)
        self._places.setdefault(self._forest_key(record.params), record.place)
        trial = self._frozen(record)
        if self._remember(trial):
            self._rebuild()
        else:
            self._study.add_trial(trial)

    def forget(self, place: int, *, given_up: bool = False) -> None:
        """Remove a running trial that failed; exclude its forest from proposals if given up."""
        forest = self._forest_key(self._running.pop(place))
        self._study.tell(self._running_numbers.pop(place), state=TrialState.FAIL)
        if self._places.get(forest) == place:
            del self._places[forest]
        if given_up:
            self._excluded.add(forest)

    def _ask(self, place: int) -> Mapping[str, Any]:
        """Return hyperparameters of a new forest, or of a grown one if no new one is found."""
        new_points = [point for point in self._points if self._is_new(point)]
        # If the space has no new forest, further attempts are useless.
        exhausted = self._points and not new_points
        attempts = 1 if exhausted else _SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS
        for attempt in range(attempts):
            # A new sampler with the same seed would propose its first points again.
            seed = derive_seed(self._seed, place, _ASK, attempt)
            use_tpe = attempt < _SAMPLER_ATTEMPTS
            self._study.sampler = _Sampler(self._space, seed) if use_tpe else RandomSampler(seed)
            trial = self._study.ask(self._space)
            self._study.tell(trial, state=TrialState.FAIL)
            if self._is_new(trial.params):
                return dict(trial.params)
        candidates = new_points
        if not candidates and self._forest_key(trial.params) in self._excluded:
            candidates = [p for p in self._points if self._forest_key(p) in self._places]
        return candidates[seed % len(candidates)] if candidates else dict(trial.params)

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        forest = self._forest_key(params)
        return forest not in self._places and forest not in self._excluded

    def _frozen(self, record: TrialRecord) -> "FrozenTrial":
        # A sampler ranks pruned trials by their last intermediate value. It must be in the study's
        # metric, whereas the record's scores are in the metric's guide.
        value, trees = record.value, record.steps
        last = {} if value is None or trees is None else {trees: value}
        return create_trial(
            state=TrialState[record.state],
            value=value,
            params=dict(record.params),
            distributions=self._space,
            intermediate_values=last,
        )

    def _remember(self, trial: "FrozenTrial") -> bool:
        """Store a finished trial; return whether others were dropped to bound their number."""
        self._finished.append(trial)
        if len(self._finished) < _MAX_TRIALS:
            return False
        older = self._finished[:-_N_NEWEST]
        factor = sign(self._direction)
        order = sorted(
            range(len(older)),
            key=lambda k: (older[k].state != TrialState.COMPLETE, factor * (older[k].value or 0.0)),
        )
        self._finished = [older[k] for k in sorted(order[:_N_BEST])] + self._finished[-_N_NEWEST:]
        return True

    def _rebuild(self) -> None:
        self._study = optuna.create_study(direction=self._direction)
        self._study.add_trials(self._finished)
        for place in self._running:
            self._add_running(place)

    def _add_running(self, place: int) -> None:
        """Add a running trial; the sampler assumes a bad value for it (constant liar)."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(self._running[place]),
            distributions=self._space,
        )
        self._running_numbers[place] = len(self._study.get_trials(deepcopy=False))
        self._study.add_trial(trial)


class _Sampler(TPESampler):
    """TPE over a given search space, which a new sampler would otherwise infer from all trials."""

    def __init__(self, space: Mapping[str, "BaseDistribution"], seed: int) -> None:
        super().__init__(seed=seed)
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self,
        study: "optuna.Study",  # noqa: ARG002 Optuna's signature
        trial: "FrozenTrial",  # noqa: ARG002
    ) -> dict[str, "BaseDistribution"]:
        """Return the hyperparameters that are not fixed."""
        return self._space


def _list_points(space: Mapping[str, "BaseDistribution"]) -> list[Mapping[str, Any]]:
    """Return all points of a space with at most `_MAX_POINTS` of them, else an empty list."""
    values: list[Any] = []
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            values.append(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            values.append(range(distribution.low, distribution.high + 1))
        elif isinstance(distribution, FloatDistribution) and distribution.single():
            values.append((distribution.low,))
        else:
            return []
    if math.prod(map(len, values)) > _MAX_POINTS:
        return []
    return [dict(zip(space, point, strict=True)) for point in product(*values)]
