"""Proposes hyperparameters and prunes: an Optuna study in memory, rebuilt from the database.

A sampler reads all trials at each ask, which from a database costs more than growing a forest on a
small table. What is proposed goes to the database before a tree grows, so nothing is lost with the
memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from search.forest import seed_of
from search.pruning import HalvingPruner
from storage.records import TrialRecord
from storage.studies import Direction

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Proposal:
    """Hyperparameters for a trial, and the in-memory trial that stands for it."""

    place: int
    params: Mapping[str, Any]
    trial: "Trial"


class Proposer:
    """Proposes from what it was told.

    Parameters
    ----------
    known
        Trials that the search has finished before, complete or pruned.
    """

    def __init__(
        self,
        direction: Direction,
        space: Mapping[str, "BaseDistribution"],
        seed: int,
        known: Iterable[TrialRecord],
    ) -> None:
        self._space = dict(space)
        self._seed = seed
        self._study = optuna.create_study(direction=direction, pruner=HalvingPruner())
        for record in sorted(known, key=lambda record: record.place):
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState[record.state],
                    value=record.value,
                    params=dict(record.params),
                    distributions=self._space,
                    intermediate_values=dict(record.scores),
                )
            )

    def propose(self, place: int, params: Mapping[str, Any] | None = None) -> Proposal:
        """Propose the hyperparameters of the trial at `place`; `params` where they are settled."""
        if params is not None:
            self._study.enqueue_trial(dict(params))
        # A sampler made anew proposes its first points again, so each place has a seed of its own.
        self._study.sampler = TPESampler(seed=seed_of(self._seed, place))
        trial = self._study.ask(self._space)
        return Proposal(place, dict(trial.params), trial)

    def report(self, proposal: Proposal, trees: int, score: float) -> bool:
        """Take a rung's score; return whether the trial is to be pruned."""
        proposal.trial.report(score, trees)
        return bool(proposal.trial.should_prune())

    def finish(self, proposal: Proposal, value: float | None) -> None:
        """Take the end of a trial: its value if it is complete, ``None`` if it was pruned."""
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        self._study.tell(proposal.trial, value, state)

    def forget(self, proposal: Proposal) -> None:
        """Take it that a trial came to nothing."""
        self._study.tell(proposal.trial, state=TrialState.FAIL)
