"""What is not to be told: keys, tokens and signatures, in tracebacks and in logs.

Tracebacks are printed with their frames' variables by more tools than one would think (rich, the
standard library's `capture_locals`, error reporters), and botocore's debug lines have whole
requests and answers.
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
    """Takes the frames off an exception and off all that led to it; messages stay."""
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
"""Those that say where keys are looked for, and never which they are."""

_quiet = threading.local()


class _Mute(logging.Filter):
    """Keeps back debug lines of a thread that is quiet, and of no other."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or not getattr(_quiet, "depth", 0)


_MUTE: Final = _Mute()


@contextlib.contextmanager
def quiet_botocore() -> Iterator[None]:
    """While this lasts, botocore's debug lines with requests and answers are not logged.

    That holds for this thread's lines alone: what the application itself has botocore do is its
    own affair. Lines that say where credentials are looked for are logged.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if (
            name.partition(".")[0] in _TALKATIVE
            and name not in _HARMLESS
            and isinstance(logger, logging.Logger)
        ):
            # Added once, however often. A filter counts where a line begins, not further up.
            logger.addFilter(_MUTE)
    _quiet.depth = getattr(_quiet, "depth", 0) + 1
    try:
        yield
    finally:
        _quiet.depth -= 1
