"""Keeps keys, tokens and signatures out of tracebacks and logs.

Many tools print tracebacks with the variables of their frames (rich, the standard library's
`capture_locals`, error reporters), and botocore's debug lines contain whole requests and answers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet_botocore", "without_frames"]


def without_frames[E: BaseException](error: E) -> E:
    """Remove the frames of an exception and of its causes and contexts; messages stay."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = None
        todo.extend(other for other in (each.__cause__, each.__context__) if other is not None)
        if isinstance(each, BaseExceptionGroup):
            todo.extend(each.exceptions)
    return error


_TALKATIVE: Final = ("botocore", "boto3", "urllib3")

_HARMLESS: Final = frozenset(
    {
        "botocore.configprovider",
        "botocore.credentials",
        "botocore.hooks",
        "botocore.loaders",
        "botocore.session",
    }
)
"""Loggers that say where keys are looked for, and never the keys themselves."""

_quiet = threading.local()


class _Mute(logging.Filter):
    """Drops the debug lines of threads that are in `quiet_botocore`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or not getattr(_quiet, "depth", 0)


_MUTE: Final = _Mute()


@contextlib.contextmanager
def quiet_botocore() -> Iterator[None]:
    """Suppress botocore's debug lines that contain requests and answers.

    This affects only the current thread, so the application's own use of botocore is still logged.
    Lines that say where credentials are looked for are logged too.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if (
            name.partition(".")[0] in _TALKATIVE
            and name not in _HARMLESS
            and isinstance(logger, logging.Logger)
        ):
            # Adding a filter again has no effect. Filters apply only at the logger that emits.
            logger.addFilter(_MUTE)
    _quiet.depth = getattr(_quiet, "depth", 0) + 1
    try:
        yield
    finally:
        _quiet.depth -= 1
