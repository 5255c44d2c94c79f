"""How a command ends: what it says on standard error, and the exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from deepgram_sagemaker.conversations.reasons import reason_of

from .manners import FAILED, INTERRUPTED, fail, has_enough

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["finish", "run"]


def run[T](work: Coroutine[None, None, T]) -> T:
    """Run a command's work, and return what it returns.

    Every error is a line on standard error and the exit status 1. Ctrl-C prints nothing.
    """
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001 - a person wants a line, not a traceback
        if not has_enough(error):
            fail(reason_of(error))
        # Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None


def finish(work: Coroutine[None, None, bool]) -> NoReturn:
    """Run a command's work, which returns whether all of it was done; then exit the process.

    The exit status is 0 if it was, and otherwise 1.
    """
    raise typer.Exit(0 if run(work) else FAILED)
