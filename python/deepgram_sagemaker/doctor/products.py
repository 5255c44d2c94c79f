"""What an endpoint is asked for, by the family of Deepgram's models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRODUCTS", "Product"]

_RATE: Final = 16_000
_CHUNK: Final = 3_200


@dataclass(frozen=True, slots=True)
class Product:
    """What an endpoint is asked for.

    Attributes:
        path: The invocation's path.
        model: The model.
        query: The rest of the query.
        messages: What is sent.
        sent: The same in words.
        expected: Types of messages, one of which has to come; `audio` for audio.
    """

    path: str
    model: str
    query: str
    messages: tuple[str | bytes, ...]
    sent: str
    expected: frozenset[str]


_SILENCE: Final = tuple(bytes(_CHUNK) for _ in range(2 * _RATE // _CHUNK))
_CLOSE_STREAM: Final = json.dumps({"type": "CloseStream"})
_RAW: Final = f"encoding=linear16&sample_rate={_RATE}"

PRODUCTS: Final[Mapping[str, Product]] = {
    "nova": Product(
        "v1/listen",
        "nova-3",
        _RAW,
        (*_SILENCE, _CLOSE_STREAM),
        "one second of silence",
        frozenset({"Results", "Metadata"}),
    ),
    "flux": Product(
        "v2/listen",
        "flux-general-en",
        _RAW,
        (*_SILENCE, _CLOSE_STREAM),
        "one second of silence",
        frozenset({"TurnInfo"}),
    ),
    "aura": Product(
        "v1/speak",
        "aura-2-thalia-en",
        _RAW,
        (
            json.dumps({"type": "Speak", "text": "Hello."}),
            json.dumps({"type": "Flush"}),
            json.dumps({"type": "Close"}),
        ),
        "one word to speak",
        frozenset({"audio"}),
    ),
}
"""By the name of Deepgram's family of models."""
