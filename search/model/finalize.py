"""Makes the champion from a trial, scores it on the hold-out, and registers it."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from search.environment import cores
from search.errors import StudyError
from search.forest.fitting import GrowElsewhere
from search.formatting import size
from search.model.champion import (
    COPIES_SAVED,
    champion_size,
    check_fits,
    fit_memory,
    make_champion,
    messages,
)
from search.model.diagnostics import examine
from search.model.registration import Registration
from search.study.importance import importance
from search.study.notes import (
    ChampionNote,
    Seconds,
    StudyNotes,
    VersionNote,
    read_notes,
    updated,
)
from search.study.problem import Problem
from storage.records import TrialRecord
from storage.studies.study import Study
from storage.tracking import client as mlflow_client
from storage.tracking.mirror_writer import MirrorWriter

_logger = logging.getLogger(__name__)

# The phase in which the champion's trees grow.
MAKING = "making the champion"
# Seconds to wait for MLflow to report whether the champion is registered already.
_TIMEOUT = 60.0


class Finalizer:
    """Makes and registers a study's champion, unless it is registered already.

    Parameters
    ----------
    check
        Called before each write to MLflow; raises if this process may no longer write.
    write
        Stores notes with the study in its database.
    """

    def __init__(
        self,
        problem: Problem,
        study: Study,
        mirror_writer: MirrorWriter,
        check: Callable[[], None],
        write: Callable[[StudyNotes], None],
    ) -> None:
        self._problem = problem
        self._study = study
        self._mirror_writer = mirror_writer
        self._write = write
        self._registration = Registration(problem, study.uid, mirror_writer.mirror, check)

    def finalize(
        self,
        chosen: TrialRecord,
        fitting: int | None = None,
        grow: GrowElsewhere | None = None,
        show: Callable[[str], None] = lambda _: None,
    ) -> Seconds:
        """Make the champion of a trial; return how many seconds each step took.

        Parameters
        ----------
        fitting
            Number of trees that fit into the launch's time limit; ``None`` for no limit.
        grow
            Grows the trees elsewhere; see `make_champion`.
        show
            Called with what is done now.

        Raises
        ------
        StudyError
            If MLflow does not answer within a minute, or the champion cannot be made or saved.
        """
        spec, problem = self._problem.spec, self._problem
        trees = champion_size(spec.trees, chosen)
        if fitting is not None and fitting < trees:
            _logger.info(
                "champion: %d instead of %d trees, which fit into the rest of --timeout %g; launch "
                "again with a longer --timeout, or without one, for all trees",
                fitting,
                trees,
                spec.timeout,
            )
            trees = fitting
        wanted = ChampionNote(name=spec.model, trial=chosen.number, trees=trees)
        if spec.register_model and self._is_registered(wanted):
            return Seconds()
        clock = time.monotonic()
        mlflow_client.load()  # it must be imported before scikit-learn and skrub
        fitting = self._fitting_memory(chosen.params, trees)
        if fitting < trees:
            earlier = self._earlier_trees(wanted, fitting) or fitting
            wanted = wanted.model_copy(update={"trees": earlier})
            if spec.register_model and self._is_registered(wanted):
                return Seconds()
            trees, wanted = fitting, wanted.model_copy(update={"trees": fitting})
        self._write(StudyNotes(importance=importance(self._study.optuna)))
        jobs = spec.workers or cores()
        champion = make_champion(
            problem.dataset,
            problem.metric,
            chosen.params,
            trees,
            spec.seed,
            jobs,
            grow,
            lambda done: show(f"{MAKING}, {done} of {trees} trees"),
        )
        for text in messages(champion, chosen.enough_steps, chosen.covered):
            _logger.info("%s", text)
        show("examining the champion on the held-out rows")
        findings = examine(champion, problem.dataset, problem.metric)
        model = read_notes(self._study).model
        if model is not None and not model.is_of(wanted):
            self._write(StudyNotes(model=None))
        # The note on the champion is removed first and written last. If the process dies meanwhile,
        # the study has no champion, instead of one with the findings of another.
        self._write(StudyNotes(champion=None))
        found = None if findings is None else findings.note(problem.dataset)
        self._write(StudyNotes(findings=found))
        self._write(StudyNotes(holdout=dict(champion.holdout) or None))
        self._write(StudyNotes(champion=wanted))
        seconds = Seconds(champion=round(time.monotonic() - clock, 2))
        if not spec.register_model:
            return seconds
        clock = time.monotonic()
        show(f"registering the model, {size(champion.n_bytes)} in memory")
        version = self._registration.register(champion, chosen.number, findings)
        self._write(StudyNotes(model=VersionNote(**dict(wanted), version=version.version)))
        return updated(seconds, Seconds(register=round(time.monotonic() - clock, 2)))

    def _fitting_memory(self, params: Mapping[str, Any], trees: int) -> int:
        """Return how many of the trees fit into memory, also while they are saved.

        Raises
        ------
        StudyError
            If the requested number of trees does not fit into memory.
        """
        spec, dataset = self._problem.spec, self._problem.dataset
        copies = COPIES_SAVED if spec.register_model else 1
        if spec.trees != "auto":
            check_fits(dataset, params, trees, spec.seed, copies)
            return trees
        fit = fit_memory(dataset, params, trees, spec.seed, copies)
        if fit.trees < trees:
            _logger.info(
                "champion: %d instead of %d trees, for which %s of memory are needed, but only %s "
                "are free; for more trees, launch again with larger leaves by [space] "
                "min_samples_leaf",
                fit.trees,
                trees,
                size(fit.needed),
                size(fit.free),
            )
        return fit.trees

    def _earlier_trees(self, wanted: ChampionNote, fitting: int) -> int | None:
        """Return how many trees the same champion had if twice as many do not fit now.

        The free memory changes between launches, which is no reason for another version.
        """
        earlier = read_notes(self._study).champion
        if earlier is None or (earlier.name, earlier.trial) != (wanted.name, wanted.trial):
            return None
        return earlier.trees if fitting < 2 * earlier.trees else None

    def _is_registered(self, wanted: ChampionNote) -> bool:
        """Whether the champion is registered already, and the study's notes are about it."""
        if not self._mirror_writer.wait_adopted(_TIMEOUT):
            failure = self._mirror_writer.failure or "MLflow does not answer"
            msg = f"the champion is not registered ({failure}): launch again to register it"
            raise StudyError(msg)
        version = self._registration.find(wanted.trial, wanted.trees)
        if version is None or read_notes(self._study).champion != wanted:
            return False
        self._write(StudyNotes(model=VersionNote(**dict(wanted), version=version.version)))
        return True
