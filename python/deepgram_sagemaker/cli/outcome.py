"""How a command ends: what it says on standard error, and the exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from deepgram_sagemaker.errors import SageMakerError

from .manners import FAILED, INTERRUPTED, fail

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["finish", "reason_of"]


def finish(work: Coroutine[None, None, bool]) -> NoReturn:
    """Run a command's work, which returns whether all of it was done; then exit the process.

    The exit status is 0 if it was, and otherwise 1. Every error is a line on standard error.
    """
    try:
        done = asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read standard output has enough. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except Exception as error:  # noqa: BLE001 - a person wants a line, not a traceback
        fail(reason_of(error))
    raise typer.Exit(0 if done else FAILED)


def reason_of(error: Exception) -> str:
    """Return an error as one line. If nothing in it speaks to people, its class is named."""
    from .conversation import ConversationError

    text = " ".join(str(error).split())
    if isinstance(error, (SageMakerError, ConversationError, OSError, ValueError, ImportError)):
        return text or type(error).__name__
    return f"unexpected {type(error).__name__}: {text}"
