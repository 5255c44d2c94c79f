"""An invocation's query, as models read it.

The server decodes it. Where a parameter that has one value is repeated, the last value counts, as
in the client and in the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Query", "grouped", "last"]

type Query = Mapping[str, Sequence[str]]
"""Each parameter with all its values, in their order."""


def grouped(pairs: Iterable[tuple[str, str]]) -> Query:
    """Group the pairs of a query by their names."""
    query: dict[str, list[str]] = {}
    for key, value in pairs:
        query.setdefault(key, []).append(value)
    return query


def last(query: Query, key: str) -> str | None:
    """Return the value of a parameter; None: it is missing."""
    values = query.get(key)
    return values[-1] if values else None
