"""The status of a search, which `launch` and `watch` show, updated as its trials change."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING

from search.study.ranking import score_name, score_now
from storage.records import FINISHED_STATES, Direction, StudyState, TrialRecord
from storage.studies.statistics import BusyTime, TrialStatistics, by_end, steps_run

if TYPE_CHECKING:
    from search.study.notes import GrowingNote  # pydantic takes long to import

# Number of finished trials that the pace is estimated from.
_RECENT = 20
# `SearchStatus.doing` during the search.
SEARCHING = "searching"


@dataclass
class SearchStatus:
    """The status of a study.

    Attributes
    ----------
    guide
        Name of the score that running trials report, if that is not the metric.
    growing
        The trials that grow now.
    goal
        Number of finished trials at which the study ends; ``None`` if it is not known.
    workers
        Number of tasks that can run at the same time; ``None`` before the first count.
    doing
        Current phase of the launch: the search, or what follows it.
    behind
        Returns how many runs MLflow does not show yet; ``None`` if that is not known.
    began, deadline
        Start and latest end of this launch, in seconds on the monotonic clock; ``None`` if not
        known.
    """

    study: str
    metric: str
    direction: Direction
    goal: int | None
    trials: InitVar[Iterable[TrialRecord]] = ()
    state: StudyState = "running"
    workers: int | None = None
    growing: "list[GrowingNote]" = field(default_factory=list)
    doing: str = SEARCHING
    guide: str | None = None
    behind: Callable[[], int | None] = lambda: None
    began: float | None = None
    deadline: float | None = None
    statistics: TrialStatistics = field(init=False)
    _running: dict[int, TrialRecord] = field(init=False, default_factory=dict)
    _recent: deque[tuple[float, int, bool]] = field(
        init=False, default_factory=lambda: deque(maxlen=_RECENT)
    )
    _busy: BusyTime = field(init=False, default_factory=BusyTime)

    def __post_init__(self, trials: Iterable[TrialRecord]) -> None:
        known = list(trials)
        self.statistics = TrialStatistics(self.direction, known)
        for trial in sorted((trial for trial in known if trial.ended is not None), key=by_end):
            self._add(trial)
        for trial in known:
            if trial.state == "RUNNING":
                self._running[trial.number] = trial

    def take(self, trial: TrialRecord) -> None:
        """Update the status with a trial's newest record."""
        self.statistics.take(trial)
        if trial.state == "RUNNING":
            self._running[trial.number] = trial
        else:
            self._running.pop(trial.number, None)
        self._add(trial)

    def _add(self, trial: TrialRecord) -> None:
        seconds = self._busy.add(trial)
        if trial.state in FINISHED_STATES and not trial.interrupted:
            self._recent.append((seconds, steps_run(trial), trial.state != "FAIL"))

    @property
    def running(self) -> list[TrialRecord]:
        """Running trials, by number. Trials shorter than a second are written when they end."""
        return sorted(self._running.copy().values(), key=lambda trial: trial.number)

    def best(self) -> str | None:
        """Return the best score, and the number of rows it is based on if no trial is complete."""
        best = self.statistics.candidate
        score = None if best is None else score_now(best)
        if best is None or score is None:
            return None
        name = score_name(best, self.metric, self.guide)
        rows = f" on {best.rows:,} rows" if best.rows is not None and not best.ranks else ""
        return f"{name} {score:.5g}{rows}"

    def trees_per_second(self) -> float | None:
        """Return the trees per second of the last twenty trials; ``None`` if there are none."""
        recent = list(self._recent)
        seconds, trees = sum(r[0] for r in recent), sum(r[1] for r in recent)
        return trees / seconds if trees and seconds > 0 else None

    def seconds_left(self) -> float | None:
        """Return the seconds to the goal at the pace of the last twenty trials, or to the deadline.

        ``None`` if they cannot be estimated, and after the search.
        """
        left = None if self.goal is None else self.goal - self.statistics.finished
        recent = list(self._recent)
        finished = sum(is_finished for *_, is_finished in recent)
        if left is None or left <= 0 or not finished or self.doing != SEARCHING:
            return None
        to_goal = left * sum(seconds for seconds, *_ in recent) / finished
        if self.deadline is None:
            return to_goal
        return max(0.0, min(to_goal, self.deadline - time.monotonic()))

    def curve(self, points: int) -> list[float]:
        """Return the best value so far at up to `points` evenly spaced trials, oldest first."""
        improvements = list(self.statistics.best)
        if not improvements:
            return []
        first, last = improvements[0][0], max(self.statistics.highest, improvements[-1][0])
        n = min(points, last - first + 1)
        curve, place = list[float](), 0
        for k in range(n):
            number = first + (last - first) * k / max(1, n - 1)
            while place + 1 < len(improvements) and improvements[place + 1][0] <= number:
                place += 1
            curve.append(improvements[place][1])
        return curve
