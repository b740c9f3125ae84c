"""Messages of a launch: passes this project's log records to a display or a client."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOGGERS = ("search", "storage")
_changing = threading.Lock()
# Levels that the loggers had before the first receiver came.
_levels: dict[str, int] = {}


class _Handler(logging.Handler):
    """Passes on the records of one launch only: a Dask worker can run several coordinators."""

    def __init__(self, receive: Callable[[logging.LogRecord], None] | None) -> None:
        super().__init__(logging.INFO)
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, unless it belongs to another launch."""
        if self._receive is not None and _current.get() in {None, self}:
            self._receive(record)


_current: ContextVar[_Handler | None] = ContextVar("grovekeeper_messages", default=None)


@contextmanager
def messages_to(receive: Callable[[logging.LogRecord], None] | None) -> Iterator[None]:
    """Pass this project's log records, from INFO up, to `receive` within the block.

    A record belongs to the block if it was logged in its context (`contextvars`), which the threads
    of a launch inherit, or outside of every such block. Records of other libraries are ignored.

    Parameters
    ----------
    receive
        ``None`` passes nothing on and keeps Python from printing warnings that no handler took.
    """
    handler = _Handler(receive)
    _attach(handler, quiet=receive is None)
    token = _current.set(handler)
    try:
        yield
    finally:
        _current.reset(token)
        _detach(handler)


def _attach(handler: _Handler, *, quiet: bool) -> None:
    with _changing:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            if not quiet:
                _levels.setdefault(name, logger.level)
                logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))


def _detach(handler: _Handler) -> None:
    with _changing:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(handler)
            if name in _levels and not any(isinstance(h, _Handler) for h in logger.handlers):
                logger.setLevel(_levels.pop(name))
