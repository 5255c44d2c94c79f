"""Names of a package whose modules are imported when they are first asked for.

For packages that need an extra, which only those have who use them.
Imports nothing of ours.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["deferred"]


def deferred(
    package: str,
    homes: Mapping[str, str],
    reason: Callable[[str, ImportError], str] | None = None,
) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562).

    Args:
        package: Its name.
        homes: The module within it in which each name is at home.
        reason: Returns why a name cannot be imported, and what to do about it; None: the error says
            it itself.
    """

    def get(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{package}.{home}")
        except ImportError as error:
            if reason is None:
                raise
            words = reason(name, error)
            raise ImportError(words, name=error.name, path=error.path) from error
        value = getattr(module, name)
        # From now on it is found without this.
        setattr(sys.modules[package], name, value)
        return value

    return get
