"""The keys that let clients into the gateway: from a file or from the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["VARIABLE", "KeysError", "NamedKey", "read_keys"]

VARIABLE: Final = "DEEPGRAM_GATEWAY_KEYS"
"""The environment variable with keys, in the form of a file; commas separate them, too."""

SHORT: Final = 16
"""Characters below which a key can be guessed."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What a subprotocol may consist of, as browsers have it: they can send a key in no other way.
_KEY: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,512}")


class KeysError(ValueError):
    """The keys cannot be used; the message names the line, and no key."""


class NamedKey(NamedTuple):
    """A key that lets clients in.

    Attributes:
        name: What logs call it.
        key: The key.
    """

    name: str
    key: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def is_short(self) -> bool:
        """Whether it can be guessed."""
        return len(self.key) < SHORT


def read_keys(file: Path | None) -> list[NamedKey]:
    """Return the keys of a file, or else of the environment; none: there are none.

    A line is `name:key`, or `key` alone, which gets the name of its line: `key-3`. `#` begins a
    comment.

    Args:
        file: The file; None: the environment variable `DEEPGRAM_GATEWAY_KEYS`.

    Raises:
        KeysError: The file has no key, a line has another form, or a name or a key is there twice.
        OSError: The file cannot be read.
    """
    if file is None:
        lines = os.environ.get(VARIABLE, "").replace(",", "\n").splitlines()
        return _keys(lines, VARIABLE)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise KeysError(f"{file} is not text in UTF-8") from None
    keys = _keys(lines, str(file))
    if not keys:
        # Otherwise a file that was emptied by mistake would let everybody in.
        raise KeysError(f"{file} has no key: write one a line, `name:key`")
    return keys


def _keys(lines: Iterable[str], source: str) -> list[NamedKey]:
    found: list[NamedKey] = []
    for number, raw in enumerate(lines, start=1):
        # A key may have a `#` inside.
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if not line:
            continue
        name, colon, key = (each.strip() for each in line.partition(":"))
        if not colon:
            name, key = f"key-{number}", name
        place = f"{source}, line {number}"
        if not _NAME.fullmatch(name):
            raise KeysError(
                f"{place}: the name before the colon must be 1 to 64 letters, digits and ._-"
            )
        if not _KEY.fullmatch(key):
            raise KeysError(
                f"{place}: the key {name!r} must be 1 to 512 letters, digits and !#$%&'*+.^_`|~-, "
                "so that it fits into a header"
            )
        if any(each.key == key for each in found):
            raise KeysError(f"{place}: the key {name!r} is there twice")
        if any(each.name == name for each in found):
            raise KeysError(f"{place}: there are two keys of the name {name!r}")
        found.append(NamedKey(name, key))
    return found
