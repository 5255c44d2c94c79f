"""The settings in a `v1/listen` query, checked before any audio is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.audio import AudioFormat, Encoding
from deepgram_sagemaker.local.query import last

if TYPE_CHECKING:
    from deepgram_sagemaker.local.query import Query

__all__ = ["ListenRequest", "RequestError", "audio_format"]

# The service's default; in practice the recogniser's release time is longer.
_DEFAULT_ENDPOINTING_US: Final = 10_000
# The service refuses less than a second, the interval of interim results.
_MIN_UTTERANCE_END_MS: Final = 1_000
_SAMPLE_RATES: Final = range(8_000, 192_001)
_MAX_CHANNELS: Final = 20
_TELEPHONE_RATE: Final = 8_000
_RAW_ENCODINGS: Final = {
    "linear16": Encoding.LINEAR16,
    "linear32": Encoding.LINEAR32,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}
_TELEPHONE_ENCODINGS: Final = frozenset({Encoding.MULAW, Encoding.ALAW})


class RequestError(ValueError):
    """The query asks for something that is malformed or not supported."""


@dataclass(frozen=True, slots=True)
class ListenRequest:
    """One `v1/listen` stream's settings.

    Attributes:
        model: the name in the query; recognition is the same for every model.
        audio: the format of raw audio; None: a WAV header is in front.
        multichannel: recognise each channel on its own instead of mixing them down.
        interim_results: send results for audio that is not final yet.
        punctuated: keep punctuation and capitals (`punctuate` or `smart_format`).
        endpointing_us: silence that ends speech, in microseconds; None: speech never ends so.
        utterance_end_us: gap between words that ends an utterance, in microseconds; None: none.
        vad_events: send an event when speech starts.
    """

    model: str = "nova-3"
    audio: AudioFormat | None = None
    multichannel: bool = False
    interim_results: bool = False
    punctuated: bool = False
    endpointing_us: int | None = _DEFAULT_ENDPOINTING_US
    utterance_end_us: int | None = None
    vad_events: bool = False

    @classmethod
    def parse(cls, query: Query) -> ListenRequest:
        """Read a query; unknown keys are ignored.

        Raises:
            RequestError: a value is malformed or not supported; the message names both.
        """
        interim = _flag(query, "interim_results")
        utterance_end = _utterance_end(query)
        return cls(
            model=last(query, "model") or "nova-3",
            audio=audio_format(query),
            multichannel=_flag(query, "multichannel"),
            interim_results=interim,
            punctuated=_flag(query, "punctuate") or _flag(query, "smart_format"),
            endpointing_us=_endpointing(query),
            # Utterance ends are found in interim results; without these the service sends none.
            utterance_end_us=utterance_end if interim else None,
            vad_events=_flag(query, "vad_events"),
        )


def _flag(query: Query, key: str) -> bool:
    value = last(query, key)
    match value.lower() if value is not None else None:
        case None | "false":
            return False
        case "true":
            return True
        case _:
            raise RequestError(f"{key}={value}: must be true or false")


def _number(query: Query, key: str) -> int | None:
    value = last(query, key)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise RequestError(f"{key}={value}: must be a whole number")
    return int(value)


def _endpointing(query: Query) -> int | None:
    match last(query, "endpointing"):
        case None | "true":
            return _DEFAULT_ENDPOINTING_US
        case "false":
            return None
        case _:
            milliseconds = _number(query, "endpointing")
            return None if milliseconds is None else milliseconds * 1_000


def _utterance_end(query: Query) -> int | None:
    milliseconds = _number(query, "utterance_end_ms")
    if milliseconds is None:
        return None
    if milliseconds < _MIN_UTTERANCE_END_MS:
        raise RequestError(
            f"utterance_end_ms={milliseconds}: must be at least {_MIN_UTTERANCE_END_MS}"
        )
    return milliseconds * 1_000


def audio_format(query: Query) -> AudioFormat | None:
    """Return the format of raw audio in a query; None: a container is in front.

    Raises:
        RequestError: a value is malformed or not supported; the message names both.
    """
    name = last(query, "encoding")
    if name is None:
        return None
    encoding = _RAW_ENCODINGS.get(name)
    if encoding is None:
        raise RequestError(
            f"encoding={name}: this model takes {', '.join(_RAW_ENCODINGS)}, or WAV files without "
            "the parameter"
        )
    rate = _number(query, "sample_rate")
    if rate is None:
        if encoding not in _TELEPHONE_ENCODINGS:
            raise RequestError(f"encoding={name} needs a sample_rate")
        rate = _TELEPHONE_RATE
    if rate not in _SAMPLE_RATES:
        raise RequestError(
            f"sample_rate={rate}: must be from {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]}"
        )
    channels = _number(query, "channels")
    channels = 1 if channels is None else channels
    if not 1 <= channels <= _MAX_CHANNELS:
        raise RequestError(f"channels={channels}: must be from 1 to {_MAX_CHANNELS}")
    return AudioFormat(encoding, rate, channels)
