"""Deepgram's parameters."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Query"]

type Query = Mapping[str, str | list[str]]
"""The parameters of a connection, by name; a list where one is given several times."""
