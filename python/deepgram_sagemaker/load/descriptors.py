"""Files that a process may have open: each stream has a connection of its own.

Imports nothing of ours.
"""

from __future__ import annotations

from typing import Final

__all__ = ["TooFewDescriptorsError", "allow"]

_OTHERS: Final = 200
"""Files that a process needs besides."""


class TooFewDescriptorsError(OSError):
    """The system allows a process fewer files than it needs."""


def allow(streams: int) -> None:
    """Allow this process as many open files as its streams need, where there is such a limit.

    Raises:
        TooFewDescriptorsError: The system does not allow so many.
    """
    try:
        import resource
    except ImportError:
        return
    needed = 2 * streams + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard < streams + _OTHERS:
            raise TooFewDescriptorsError(
                f"{streams} streams need {streams + _OTHERS} open files, and a process may have "
                f"{hard} here: raise the limit (ulimit -n), or use more workers"
            )
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
