"""The settings in a speak query, checked before any text is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.query import last

from .voice import AudioOutput

if TYPE_CHECKING:
    from deepgram_sagemaker.local.query import Query

__all__ = ["RequestError", "SpeakRequest", "check_speed"]

_TELEPHONE_RATES: Final = (8_000, 16_000)
# The rates of each product, and the default rate.
_LINEAR_RATES: Final = {
    "v1": (8_000, 16_000, 24_000, 32_000, 48_000),
    "v2": (8_000, 16_000, 24_000, 32_000, 44_100, 48_000),
}
_LINEAR_RATE: Final = 24_000
_TELEPHONE_RATE: Final = 8_000
_MODELS: Final = {"v1": "aura-asteria-en", "v2": None}
_SLOWEST: Final = {"v1": 0.7, "v2": 0.5}
_FASTEST: Final = 1.5
_SPEED_STEPS: Final = 20


class RequestError(ValueError):
    """The query asks for something that is malformed or not supported."""


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """One speak stream's settings.

    Attributes:
        model: the name in the query; the voice is the same for every model.
        output: the format of the audio.
        container: `none`, or `wav`: a header in front of the audio. Only for `v1/speak`.
        speed: 1.0 is the voice's own.
    """

    model: str
    output: AudioOutput
    container: str = "none"
    speed: float = 1.0

    @classmethod
    def parse(cls, query: Query, version: str) -> SpeakRequest:
        """Read a query; unknown keys are ignored.

        Args:
            query: the invocation's query.
            version: `v1` or `v2`.

        Raises:
            RequestError: a value is malformed or not supported; the message names both.
        """
        model = last(query, "model") or _MODELS[version]
        if model is None:
            raise RequestError("model: must be given")
        container = last(query, "container") or "none"
        if container not in ("none", "wav") or (container == "wav" and version != "v1"):
            raise RequestError(f"container={container}: is not one that streams here")
        speed = last(query, "speed") or "1.0"
        try:
            factor = float(speed)
        except ValueError:
            raise RequestError(f"speed={speed}: must be a number") from None
        slowest = _SLOWEST[version]
        if check_speed(factor, slowest) is not None:
            raise RequestError(f"speed={speed}: must be from {slowest} to {_FASTEST} in 0.05s")
        return cls(model, _output(query, version), container, factor)


def check_speed(speed: float, slowest: float = _SLOWEST["v2"]) -> str | None:
    """Return the error code for a speed; None: it is valid."""
    if not slowest <= speed <= _FASTEST:
        return "SPEED_OUT_OF_RANGE"
    if abs(speed * _SPEED_STEPS - round(speed * _SPEED_STEPS)) > 1e-6:
        return "SPEED_INCREMENT_INVALID"
    return None


def _output(query: Query, version: str) -> AudioOutput:
    encoding = last(query, "encoding") or "linear16"
    match encoding:
        case "linear16":
            rates, default = _LINEAR_RATES[version], _LINEAR_RATE
        case "mulaw" | "alaw":
            rates, default = _TELEPHONE_RATES, _TELEPHONE_RATE
        case _:
            raise RequestError(f"encoding={encoding}: this model makes linear16, mulaw and alaw")
    rate = last(query, "sample_rate") or str(default)
    if not (rate.isascii() and rate.isdigit() and int(rate) in rates):
        allowed = ", ".join(map(str, rates))
        raise RequestError(f"sample_rate={rate}: must be one of {allowed} for {encoding}")
    return AudioOutput(encoding, int(rate))
