"""The status of a study that another process runs, polled from its database."""

import time

from search.monitoring.status import SEARCHING, SearchStatus
from search.study.notes import StudyNotes, read_notes
from storage.studies.study import Study


class StudyPoller:
    """Polls a study that another process runs.

    Attributes
    ----------
    status
        Status at the last poll; a new object after another launch has begun.
    poll_seconds
        Seconds that the last poll took.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._epoch: int | None = None
        self._ended: set[int] = set()
        self._behind: int | None = None
        self.poll_seconds = 0.0
        self.status: SearchStatus
        self._begin()

    def poll(self) -> None:
        """Update the status."""
        began = time.monotonic()
        self._poll()
        self.poll_seconds = time.monotonic() - began

    def _poll(self) -> None:
        holder = self._study.lease()
        if (holder.epoch if holder else None) != self._epoch:
            self._begin()
            return
        for trial in self._study.trials(without=self._ended):
            self.status.take(trial)
            if trial.ended is not None:
                self._ended.add(trial.number)
        self._take_notes(read_notes(self._study))

    def _begin(self) -> None:
        study, holder = self._study, self._study.lease()
        notes, trials = read_notes(study), study.trials()
        status = SearchStatus(
            study.name,
            study.metric,
            study.direction,
            notes.goal,
            trials,
            behind=lambda: self._behind,
            guide=notes.guide,
        )
        self._epoch = holder.epoch if holder else None
        self._ended = {trial.number for trial in trials if trial.ended is not None}
        if holder is not None and holder.alive:
            status.began = time.monotonic() - (holder.now - holder.acquired)
        self.status = status
        self._take_notes(notes)

    def _take_notes(self, notes: StudyNotes) -> None:
        """Update the status from the notes that the coordinator writes while it runs."""
        status, mirror = self.status, notes.mirror
        status.state = self._study.state()
        status.goal = notes.goal
        status.doing = notes.doing or SEARCHING
        status.workers = notes.workers
        status.growing = notes.growing
        self._behind = mirror.behind if mirror else None
