"""The gateway's logs: a line for each request that has ended, and what happens to sessions.

No line has content: no query, no key, no message.

Tests: tests/cli/test_gateway_log.py.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import logging.handlers
import os
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepgram_sagemaker.gateway import Served

__all__ = ["AccessLog", "session_log"]

_logger = logging.getLogger(__name__)

_STANDARD: Final = "-"

_OURS: Final = "deepgram_"
"""What the attributes of our log records begin with: the fields of their events."""


def _clock(seconds: float) -> str:
    """Return a time of the wall clock as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class AccessLog:
    """Writes a line of JSON for each request that has ended.

    A file that was renamed, as by logrotate, is opened again by its name. Several processes may
    write to one file: each line is written at once.

    Args:
        target: A file; `-`: standard output; None: nothing is written.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, target: str | None) -> None:
        self._handler: logging.Handler | None = None
        if target == _STANDARD:
            self._handler = _Standard(sys.stdout)
        elif target is not None:
            self._handler = _File(target, encoding="utf-8")

    def write(self, served: Served) -> None:
        """Write the line of a request."""
        if self._handler is None:
            return
        fields: dict[str, Any] = {"time": _clock(time.time()), "process": os.getpid()}
        fields |= dataclasses.asdict(served)
        line = json.dumps(
            {
                name: round(value, 6) if isinstance(value, float) else value
                for name, value in fields.items()
            }
        )
        record = logging.LogRecord("access", logging.INFO, "", 0, line, None, None)
        self._handler.handle(record)

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            # What could not be written has been said.
            with suppress(OSError):
                self._handler.close()


class _SaysOnce(logging.Handler):
    """Says once that lines cannot be written: a full disk must end no conversation."""

    _has_failed = False

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - its name in the library
        if not self._has_failed:
            self._has_failed = True
            _logger.error("the access log cannot be written: %s", sys.exc_info()[1])


class _Standard(_SaysOnce, logging.StreamHandler[Any]):
    pass


class _File(_SaysOnce, logging.handlers.WatchedFileHandler):
    pass


@contextmanager
def session_log(form: str, level: int = logging.INFO) -> Iterator[None]:
    """Write what happens to sessions to standard error, for as long as the context lasts.

    Args:
        form: `text`, or `json` for a line of JSON with the fields of the event.
        level: The lowest level that is written.
    """
    logger = logging.getLogger("deepgram_sagemaker")
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    # Otherwise a handler that somebody gave the root logger writes each line again.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        session = getattr(record, f"{_OURS}session", None)
        named = "" if session is None else f" [{session}]"
        text = f"{_clock(record.created)} {record.levelname}{named} {record.getMessage()}"
        return (
            text if record.exc_info is None else f"{text}\n{self.formatException(record.exc_info)}"
        )


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _clock(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {
            name.removeprefix(_OURS): value
            for name, value in vars(record).items()
            if name.startswith(_OURS)
        }
        if record.exc_info is not None:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
