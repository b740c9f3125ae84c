"""Proposes hyperparameters: an Optuna study in memory, rebuilt from the trials that are finished.

A sampler reads all trials at each ask, which from a database costs more than growing a forest on a
small table; so it reads a study in memory, of bounded size, and an ask costs the same after ten
thousand trials.
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

# At so many finished trials the memory is cut down to the best and the newest of them.
_MOST = 300
_BEST, _NEWEST = 60, 140
# Proposals are asked for again where they make a forest that was grown before: so often of the
# sampler, then so often at random. A space of at most so many points is then looked through.
_OF_SAMPLER, _AT_RANDOM = 2, 12
_FEW = 1000
_ASK = 2**32 - 2


@dataclass(frozen=True)
class Proposal:
    """Hyperparameters for the trial at a place in the search.

    Attributes
    ----------
    copies
        Place of an earlier trial that grows the same forest; ``None`` where there is none.
    """

    place: int
    params: Mapping[str, Any]
    copies: int | None = None


class Proposer:
    """Proposes from what it was told.

    Parameters
    ----------
    forest_key
        Gives equal answers for hyperparameters that make the same forest.
    known
        Trials that the search has finished before, complete or pruned.
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
        self._points = _points_of(space)
        self._forest_of = forest_key
        self._seed = seed
        self._ended: list[FrozenTrial] = []
        self._running: dict[int, Mapping[str, Any]] = {}
        self._numbers: dict[int, int] = {}
        self._places: dict[Hashable, int] = {}
        # Forests that cannot be grown, and are not proposed again.
        self._barred = {forest_key(record.params) for record in given_up}
        for record in sorted(known, key=lambda record: record.place):
            self._places.setdefault(forest_key(record.params), record.place)
            self._remember(self._frozen(record))
        self._rebuild()

    def propose(self, place: int, params: Mapping[str, Any] | None = None) -> Proposal:
        """Propose the hyperparameters of the trial at `place`; `params` where they are settled."""
        if params is None:
            params = self._ask(place)
        self._running[place] = params
        self._enter_running(place)
        copies = self._places.setdefault(self._forest_of(params), place)
        return Proposal(place, params, None if copies == place else copies)

    def finish(self, record: TrialRecord) -> None:
        """Take the end of a trial, complete or pruned."""
        self.forget(record.place)
        self._places.setdefault(self._forest_of(record.params), record.place)
        trial = self._frozen(record)
        if self._remember(trial):
            self._rebuild()
        else:
            self._study.add_trial(trial)

    def forget(self, place: int, *, given_up: bool = False) -> None:
        """Take it that the trial at `place` came to nothing; that its forest will, if given up."""
        forest = self._forest_of(self._running.pop(place))
        self._study.tell(self._numbers.pop(place), state=TrialState.FAIL)
        if self._places.get(forest) == place:
            del self._places[forest]
        if given_up:
            self._barred.add(forest)

    def _ask(self, place: int) -> Mapping[str, Any]:
        left = [point for point in self._points if self._is_new(point)]
        # Where none is left, every proposal is of a forest that was grown before: one will do.
        attempts = 1 if self._points and not left else _OF_SAMPLER + _AT_RANDOM
        for attempt in range(attempts):
            # A sampler made anew proposes its first points again: each ask has a seed of its own.
            seed = derive_seed(self._seed, place, _ASK, attempt)
            guided = attempt < _OF_SAMPLER
            self._study.sampler = _Sampler(self._space, seed) if guided else RandomSampler(seed)
            trial = self._study.ask(self._space)
            self._study.tell(trial, state=TrialState.FAIL)
            if self._is_new(trial.params):
                return dict(trial.params)
        if not left and self._forest_of(trial.params) in self._barred:
            left = [point for point in self._points if self._forest_of(point) in self._places]
        return left[seed % len(left)] if left else dict(trial.params)

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        forest = self._forest_of(params)
        return forest not in self._places and forest not in self._barred

    def _frozen(self, record: TrialRecord) -> "FrozenTrial":
        # A sampler ranks pruned trials by their last score: the metric's, whatever guided them.
        value, trees = record.value, record.trees
        last = {} if value is None or trees is None else {trees: value}
        return create_trial(
            state=TrialState[record.state],
            value=value,
            params=dict(record.params),
            distributions=self._space,
            intermediate_values=last,
        )

    def _remember(self, trial: "FrozenTrial") -> bool:
        """Keep an ended trial; return whether others were dropped for it."""
        self._ended.append(trial)
        if len(self._ended) < _MOST:
            return False
        older = self._ended[:-_NEWEST]
        factor = sign(self._direction)
        order = sorted(
            range(len(older)),
            key=lambda k: (older[k].state != TrialState.COMPLETE, factor * (older[k].value or 0.0)),
        )
        self._ended = [older[k] for k in sorted(order[:_BEST])] + self._ended[-_NEWEST:]
        return True

    def _rebuild(self) -> None:
        self._study = optuna.create_study(direction=self._direction)
        self._study.add_trials(self._ended)
        for place in self._running:
            self._enter_running(place)

    def _enter_running(self, place: int) -> None:
        """Enter a running trial, for which the sampler takes the worst (the constant liar)."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(self._running[place]),
            distributions=self._space,
        )
        self._numbers[place] = len(self._study.get_trials(deepcopy=False))
        self._study.add_trial(trial)


class _Sampler(TPESampler):
    """TPE over a space that is known: each new sampler would look for it in all trials."""

    def __init__(self, space: Mapping[str, "BaseDistribution"], seed: int) -> None:
        super().__init__(seed=seed)
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self,
        study: "optuna.Study",  # noqa: ARG002 Optuna's signature
        trial: "FrozenTrial",  # noqa: ARG002
    ) -> dict[str, "BaseDistribution"]:
        """Return what is not fixed of the space."""
        return self._space


def _points_of(space: Mapping[str, "BaseDistribution"]) -> list[Mapping[str, Any]]:
    """Return all points of a space that has few; of any other none."""
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
    if math.prod(map(len, values)) > _FEW:
        return []
    return [dict(zip(space, point, strict=True)) for point in product(*values)]
