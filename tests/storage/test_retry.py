from types import SimpleNamespace

import pytest
from optuna.exceptions import StorageInternalError

from storage import retry as retry_module
from storage.database import retry_write
from storage.errors import DatabaseError
from storage.retry import retry

URL = "postgresql+psycopg://ann:secret@host/db"


class Failing:
    """A write that fails a number of times."""

    def __init__(self, failures: int) -> None:
        self.attempts = 0
        self._failures = failures

    def __call__(self) -> str:
        self.attempts += 1
        if self.attempts <= self._failures:
            raise StorageInternalError("the server closed the connection")
        return "written"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses between attempts. Time passes only by them, and nothing sleeps."""
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(retry_module, "time", clock)
    return pauses


def test_a_write_that_succeeds_is_done_once_without_a_message(
    caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    write = Failing(0)
    assert retry_write(write, URL) == "written"
    assert (write.attempts, caplog.messages, pauses) == (1, [], [])


def test_a_write_that_fails_is_retried_after_pauses_that_double(pauses: list[float]) -> None:
    write = Failing(7)
    assert retry_write(write, URL) == "written"
    assert write.attempts == 8
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_a_short_outage_is_not_logged(
    caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    retry_write(Failing(4), URL)
    assert sum(pauses) == pytest.approx(3.0)
    assert len(caplog.messages) == 0


def test_a_long_outage_is_logged_once_and_without_the_password(
    caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    retry_write(Failing(9), URL)
    assert sum(pauses) > 10
    (text,) = caplog.messages
    assert "the server closed the connection; trying again" in text
    assert "secret" not in text


def test_a_database_that_does_not_recover_within_a_minute_is_an_error(
    pauses: list[float],
) -> None:
    with pytest.raises(DatabaseError, match=r"cannot write to .*the same launch continues"):
        retry_write(Failing(10**9), URL)
    assert 60 < sum(pauses) < 66


def test_give_up_ends_retries_after_the_first_failure() -> None:
    write = Failing(1000)
    with pytest.raises(DatabaseError):
        retry_write(write, URL, give_up=lambda: True)
    assert write.attempts == 1


def test_other_errors_are_raised_at_once() -> None:
    def broken() -> None:
        raise ValueError("not the database")

    with pytest.raises(ValueError, match="not the database"):
        retry_write(broken, URL)


def test_retries_end_after_the_given_attempts_or_on_permanent_errors(pauses: list[float]) -> None:
    write = Failing(1000)
    with pytest.raises(StorageInternalError):
        retry(write, (StorageInternalError,), attempts=5, first_pause=0.3, longest_pause=0.3)
    assert (write.attempts, pauses) == (5, [0.3] * 4)
    write = Failing(1000)
    with pytest.raises(StorageInternalError):
        retry(write, (StorageInternalError,), give_up=lambda error: "closed" in str(error))
    assert write.attempts == 1
