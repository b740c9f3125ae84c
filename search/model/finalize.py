"""Makes the champion from the best trial, scores it on the hold-out, and registers it."""

import logging
import time
from collections.abc import Callable
from typing import Any

from search.environment import cores
from search.errors import StudyError
from search.model.champion import COPIES_SAVED, champion_size, check_fits, make_champion, messages
from search.model.diagnostics import examine
from search.model.registration import Registration
from search.study.importance import importance
from search.study.problem import Problem
from storage.records import TrialRecord
from storage.studies.study import Study
from storage.tracking import client as mlflow_client
from storage.tracking.mirror_writer import MirrorWriter

_logger = logging.getLogger(__name__)

# Seconds to wait for MLflow to report whether the champion is registered already.
_TIMEOUT = 60.0


class Finalizer:
    """Makes and registers a study's champion, unless it is registered already.

    Parameters
    ----------
    check
        Called before each write to MLflow; raises if this process may no longer write.
    note
        Stores a note with the study in its database.
    """

    def __init__(
        self,
        problem: Problem,
        study: Study,
        mirror_writer: MirrorWriter,
        check: Callable[[], None],
        note: Callable[[str, Any], None],
    ) -> None:
        self._problem = problem
        self._study = study
        self._mirror_writer = mirror_writer
        self._note = note
        self._registration = Registration(problem, study.uid, mirror_writer.mirror, check)

    def finalize(self, best: TrialRecord) -> dict[str, float]:
        """Make the best trial's champion; return how many seconds each step took.

        Raises
        ------
        StudyError
            If MLflow does not answer within a minute, or the champion cannot be made or saved.
        """
        spec, problem = self._problem.spec, self._problem
        trees = champion_size(spec.trees, best.enough_trees)
        wanted = {"name": spec.model, "trial": best.number, "trees": trees}
        if spec.register_model and self._is_registered(wanted, best.number, trees):
            return {}
        clock = time.monotonic()
        mlflow_client.load()  # it must be imported before scikit-learn and skrub
        self._note("importance", importance(self._study.optuna))
        jobs = spec.workers or cores()
        if spec.register_model:
            check_fits(problem.dataset, best.params, trees, spec.seed, COPIES_SAVED)
        champion = make_champion(
            problem.dataset, problem.metric, best.params, trees, spec.seed, jobs
        )
        for text in messages(champion, best.enough_trees, best.covered):
            _logger.info("%s", text)
        findings = examine(champion, problem.dataset, problem.metric)
        model = self._study.get("model")
        if model is not None and wanted != {key: model.get(key) for key in wanted}:
            self._note("model", None)  # the version belongs to another champion
        self._note("champion", None)  # removed until the other notes are about the same champion
        self._note("findings", findings and findings.note(problem.dataset))
        self._note("holdout", dict(champion.holdout) or None)
        self._note("champion", wanted)
        seconds = {"champion": round(time.monotonic() - clock, 2)}
        if spec.register_model:
            clock = time.monotonic()
            version = self._registration.register(champion, best.number, findings)
            self._note("model", wanted | {"version": version.version})
            seconds["register"] = round(time.monotonic() - clock, 2)
        return seconds

    def _is_registered(self, wanted: dict[str, Any], trial: int, trees: int) -> bool:
        """Whether the champion is registered already, and the study's notes are about it."""
        if not self._mirror_writer.wait_adopted(_TIMEOUT):
            failure = self._mirror_writer.failure or "MLflow does not answer"
            msg = f"the champion is not registered ({failure}): launch again to register it"
            raise StudyError(msg)
        version = self._registration.find(trial, trees)
        if version is None or self._study.get("champion") != wanted:
            return False
        self._note("model", wanted | {"version": version.version})
        return True
