"""Signals on every event loop: Windows' loops have no signal handlers of their own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["on_signal"]


@contextlib.contextmanager
def on_signal(name: str, act: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Call `act` on the running loop whenever this process gets a signal.

    Afterwards the signal does what it did before. Nothing changes outside the main thread, and if
    the system has no such signal: Ctrl-C raises `KeyboardInterrupt` as usual.

    Args:
        name: The signal's name: `SIGINT`.
        act: What to call.

    Yields:
        A function that ends it before the context does.
    """
    number: signal.Signals | None = getattr(signal, name, None)
    with contextlib.ExitStack() as stack:
        if number is not None:
            _handle(number, act, stack)
        yield stack.close


def _handle(number: signal.Signals, act: Callable[[], object], stack: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(number)
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:

        def tell(_number: int, _frame: object) -> None:
            # It may interrupt the loop anywhere, so the loop calls `act` in its own time.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(act)

        with contextlib.suppress(ValueError):
            signal.signal(number, tell)
            stack.callback(_restore, number, before)
    except RuntimeError:
        # Not in the main thread.
        return
    else:
        stack.callback(_restore, number, before)
        stack.callback(loop.remove_signal_handler, number)


def _restore(number: signal.Signals, before: Any) -> None:  # noqa: ANN401 - as `getsignal` has it
    if before is not None:
        signal.signal(number, before)
