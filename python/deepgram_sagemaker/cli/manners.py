"""What all commands have in common: how they print, and how they fail.

Colours and cursor codes go to terminals only, and not to those that want none. What a terminal has
no character for is written in ASCII. An error is one line on standard error, never a traceback.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rich.console
import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from deepgram_sagemaker.conversations.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "Console",
    "PoliteCommand",
    "PoliteGroup",
    "fail",
    "has_enough",
    "prepare_streams",
    "say_failed",
]

FAILED: Final = 1
"""The exit status of a command that did not succeed. 2, a mistake in its options, is click's."""

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""

_SUBSTITUTES: Final = {
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MICRO SIGN}": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{NO-BREAK SPACE}": " ",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{BULLET}": "*",
    "\N{MIDDLE DOT}": "*",
    "\N{CHECK MARK}": "+",
}
_HANDLER: Final = "deepgram-sagemaker"
_DUMB: Final = {"dumb", "unknown"}


class Console(rich.console.Console):
    """A console that draws on terminals only.

    Args:
        stderr: Whether it prints to standard error.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        draws = stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB
        super().__init__(stderr=stderr, force_terminal=None if draws else False)


class PoliteCommand(TyperCommand):
    """A command whose help shows flags as flags."""

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - click's, which some typers contain
        """Return what can be typed."""
        return _without_types(super().get_params(ctx))


class PoliteGroup(TyperGroup):
    """The commands. None of them prints a traceback."""

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Return what can be typed before a command."""
        return _without_types(super().get_params(ctx))

    def main(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - click's, which some typers contain
        """Read what was typed, and run it."""
        # First, because help and mistakes are printed before any command runs.
        prepare_streams()
        try:
            return super().main(*arguments, **options)
        except Exception as error:
            # Its own errors, which it tells itself unless it is asked not to.
            if type(error).__module__.partition(".")[0] in {"click", "typer"}:
                raise
            say_failed(reason_of(error))
            sys.exit(FAILED)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Some versions of typer would call it aborted, with another status.
            raise typer.Exit(INTERRUPTED) from None


def _without_types(params: Iterable[Any]) -> list[Any]:
    """Return parameters, of which the flags do not look as if they took a value."""
    found = list(params)
    for each in found:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return found


def fail(reason: str) -> NoReturn:
    """Print why the command failed, and exit with 1."""
    say_failed(reason)
    raise typer.Exit(FAILED)


def say_failed(reason: str, console: Console | None = None) -> None:
    """Say why something failed: on a console, or else on standard error."""
    (console or Console(stderr=True)).print(
        f"[bold red]Failed:[/] {escape(reason)}", soft_wrap=True, highlight=False, emoji=False
    )


def has_enough(error: BaseException) -> bool:
    """Return whether whoever read standard output has gone, such as `head`."""
    if isinstance(error, BrokenPipeError):
        return True
    # What Windows says of it, and of no file that we write by its name.
    invalid = isinstance(error, OSError) and error.errno == errno.EINVAL
    return sys.platform == "win32" and invalid and error.filename is None


def prepare_streams() -> None:
    """Prepare the standard streams, so that printing raises no error.

    A file or a pipe gets UTF-8, unless PYTHONIOENCODING says otherwise: on Windows the code page
    would have no letters for most languages, and transcripts would lose them. What a terminal
    cannot show is replaced. A stream that is closed takes what is written to it.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_free = not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding="utf-8" if is_free else None, errors=_HANDLER)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(each, "?") for each in refused), error.end
