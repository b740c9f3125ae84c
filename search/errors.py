"""The exceptions of `search`.

SearchError
├── UsageError     an invalid option, value or name (exit code 2)
├── DataError      the table cannot be read, or a forest cannot be trained on it
└── StudyError     the operation on a study or model failed
    └── DeadlyTrialError   the workers died on a trial repeatedly
"""


class SearchError(Exception):
    """Base of the package's errors; the message says what failed and what to do."""


class UsageError(SearchError):
    """An option, value or name is invalid."""


class DataError(SearchError):
    """The table cannot be read, or a forest cannot be trained on it."""


class StudyError(SearchError):
    """An operation on a study or model failed."""


class DeadlyTrialError(StudyError):
    """Several workers died on a trial: it fails, and the study continues without it."""
