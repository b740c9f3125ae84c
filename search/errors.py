"""Everything that `search` raises on purpose.

SearchError
├── UsageError     what was asked for cannot be meant (exit code 2)
├── DataError      the table cannot be read or learned from
└── StudyError     the study could not be done
    └── DeadlyTrialError   a trial killed the workers that grew it
"""


class SearchError(Exception):
    """Base of the package's errors; the message says what was wrong and what to do."""


class UsageError(SearchError):
    """What was asked for cannot be meant: a wrong option, value or name."""


class DataError(SearchError):
    """The table cannot be read, or nothing can be learned from it."""


class StudyError(SearchError):
    """The study could not be done."""


class DeadlyTrialError(StudyError):
    """A trial killed worker after worker: it fails, and the study goes on without it."""
