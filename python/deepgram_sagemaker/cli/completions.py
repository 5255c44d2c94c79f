"""What the shell completes, besides commands, options and files.

Nothing here asks AWS: the answer is needed while a person types. Whatever goes wrong, nothing is
completed and nothing is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["faults", "profiles", "regions"]


def regions(incomplete: str) -> list[str]:
    """Return the regions that begin with `incomplete`, as botocore knows them."""

    def known() -> Iterable[str]:
        import botocore.session

        session = botocore.session.Session()
        for partition in session.get_available_partitions():
            yield from session.get_available_regions("sagemaker", partition)

    return _beginning(incomplete, known)


def profiles(incomplete: str) -> list[str]:
    """Return the profiles of the shared AWS files that begin with `incomplete`."""

    def known() -> Iterable[str]:
        import botocore.session

        return botocore.session.Session().available_profiles  # type: ignore[no-any-return]

    return _beginning(incomplete, known)


def faults(incomplete: str) -> list[str]:
    """Return the fault rules that begin with `incomplete` and end with the part it is in."""

    def known() -> Iterable[str]:
        from .fault_rules import longer_by_one

        return longer_by_one(incomplete)

    return _beginning(incomplete, known)


def _beginning(incomplete: str, known: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return sorted(each for each in known() if each.startswith(incomplete))
    except Exception:  # noqa: BLE001 - see above
        return []
