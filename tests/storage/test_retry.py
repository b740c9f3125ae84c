import pytest
from optuna.exceptions import StorageInternalError

from storage import retry as retry_module
from storage.errors import DatabaseError
from storage.retry import retry

URL = "postgresql+psycopg://ann:secret@host/db"


class Stumbling:
    """A write that fails a number of times."""

    def __init__(self, failures: int) -> None:
        self.attempts: list[bool] = []
        self._failures = failures

    def __call__(self, again: bool) -> str:
        self.attempts.append(again)
        if len(self.attempts) <= self._failures:
            raise StorageInternalError("the server closed the connection")
        return "written"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "_FIRST_PAUSE", 0.01)


def test_what_gets_through_is_done_once_without_a_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    write = Stumbling(0)
    assert retry(write, URL) == "written"
    assert (write.attempts, caplog.messages) == ([False], [])


def test_it_is_tried_again_and_knows_that_it_is() -> None:
    write = Stumbling(3)
    assert retry(write, URL) == "written"
    assert write.attempts == [False, True, True, True]


def test_a_long_outage_is_logged_once_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retry_module, "_UNNOTICED", 0.0)
    retry(Stumbling(4), URL)
    (text,) = caplog.messages
    assert "the server closed the connection; trying again" in text
    assert "secret" not in text


def test_a_database_that_does_not_recover_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "PATIENCE", 0.05)
    with pytest.raises(DatabaseError, match=r"cannot write to .*the same launch goes on"):
        retry(Stumbling(1000), URL)


def test_where_nobody_waits_one_failure_is_the_last() -> None:
    write = Stumbling(1000)
    with pytest.raises(DatabaseError):
        retry(write, URL, hurried=lambda: True)
    assert len(write.attempts) == 1


def test_other_errors_are_not_the_databases() -> None:
    def broken(_again: bool) -> None:
        raise ValueError("no stumbling")

    with pytest.raises(ValueError, match="no stumbling"):
        retry(broken, URL)
