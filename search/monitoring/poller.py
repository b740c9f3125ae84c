"""How a study stands, read from its database again and again: for who watches from elsewhere."""

import time
from typing import Any

from search.monitoring.status import SEARCHING, SearchStatus
from storage.studies.study import Study


class StudyPoller:
    """Looks at a study that another process runs, and keeps its standing.

    Attributes
    ----------
    standing
        As of the last look; a new one where another launch has begun.
    cost
        Seconds that the last look took.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._epoch: int | None = None
        self._ended: set[int] = set()
        self._behind: int | None = None
        self.cost = 0.0
        self.status: SearchStatus
        self._begin()

    def look(self) -> None:
        """Bring the standing up to date."""
        began = time.monotonic()
        self._look()
        self.cost = time.monotonic() - began

    def _look(self) -> None:
        holder = self._study.lease()
        if (holder.epoch if holder else None) != self._epoch:
            self._begin()
            return
        for trial in self._study.trials(without=self._ended):
            self.status.take(trial)
            if trial.ended is not None:
                self._ended.add(trial.number)
        self._heed(self._study.notes())

    def _begin(self) -> None:
        study, holder = self._study, self._study.lease()
        notes, trials = study.notes(), study.trials()
        status = SearchStatus(
            study.name,
            study.metric,
            study.direction,
            notes.get("goal"),
            trials,
            behind=lambda: self._behind,
            guide=notes.get("guide"),
        )
        self._epoch = holder.epoch if holder else None
        self._ended = {trial.number for trial in trials if trial.ended is not None}
        if holder is not None and holder.alive:
            status.began = time.monotonic() - (holder.now - holder.acquired)
        self.status = status
        self._heed(notes)

    def _heed(self, notes: dict[str, Any]) -> None:
        """Take what the coordinator notes while it runs."""
        status, mirror = self.status, notes.get("mirror")
        status.state = self._study.state()
        status.goal = notes.get("goal")
        status.doing = notes.get("doing") or SEARCHING
        status.workers = notes.get("workers")
        self._behind = mirror["behind"] if mirror else None
