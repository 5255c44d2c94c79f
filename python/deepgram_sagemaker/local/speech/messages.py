"""The messages of `v1/listen`, as Deepgram documents them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .words import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deepgram_sagemaker.local.controls import Message

    from .words import Word

__all__ = [
    "StreamIdentity",
    "configure_failure",
    "configure_success",
    "metadata",
    "results",
    "schema_error",
    "speech_started",
    "utterance_end",
]

MODEL_UUID: Final = "6c0a5f3e-8f53-5c5e-9d0a-6d6f6f6e7368"
_MODEL_INFO: Final = {"name": "tiny-en", "version": "0.0.73", "arch": "moonshine"}


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """The identity of a stream in its messages."""

    request_id: str
    created: datetime


def _seconds(microseconds: int) -> float:
    """Convert microseconds to seconds with at most six decimals."""
    return microseconds / 1_000_000


def results(
    identity: StreamIdentity,
    *,
    channel: tuple[int, int],
    start_us: int,
    end_us: int,
    words: Sequence[Word],
    punctuated: bool,
    is_final: bool,
    speech_final: bool,
    from_finalize: bool,
) -> Message:
    """Make a `Results` message.

    Args:
        identity: the stream's identity.
        channel: the channel's index, and the number of channels.
        start_us: the start of its audio, in microseconds.
        end_us: the end of its audio, in microseconds.
        words: the words in it.
        punctuated: whether words have punctuation and capitals.
        is_final: whether no later result covers this audio.
        speech_final: whether a pause ended the speech.
        from_finalize: whether it answers a `Finalize`.
    """
    confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
    return {
        "type": "Results",
        "channel_index": list(channel),
        "duration": _seconds(end_us - start_us),
        "start": _seconds(start_us),
        "is_final": is_final,
        "speech_final": speech_final,
        "channel": {
            "alternatives": [
                {
                    "transcript": " ".join(
                        word.written if punctuated else plain(word.written) for word in words
                    ),
                    "confidence": round(confidence, 4),
                    "words": [_word(word, punctuated=punctuated) for word in words],
                }
            ]
        },
        "metadata": {
            "request_id": identity.request_id,
            "model_info": _MODEL_INFO,
            "model_uuid": MODEL_UUID,
        },
        "from_finalize": from_finalize,
    }


def _word(word: Word, *, punctuated: bool) -> Message:
    entry: Message = {
        "word": plain(word.written),
        "start": _seconds(word.start_us),
        "end": _seconds(word.end_us),
        "confidence": word.confidence,
    }
    if punctuated:
        entry["punctuated_word"] = word.written
    return entry


def speech_started(channel: tuple[int, int], at_us: int) -> Message:
    """Make a `SpeechStarted` message."""
    return {"type": "SpeechStarted", "channel": list(channel), "timestamp": _seconds(at_us)}


def utterance_end(channel: tuple[int, int], last_word_end_us: int) -> Message:
    """Make an `UtteranceEnd` message."""
    return {
        "type": "UtteranceEnd",
        "channel": list(channel),
        "last_word_end": _seconds(last_word_end_us),
    }


def metadata(identity: StreamIdentity, *, sha256: str, duration_us: int, channels: int) -> Message:
    """Make the `Metadata` message that ends a stream.

    Args:
        identity: the stream's identity.
        sha256: the SHA-256 of all audio received, in hexadecimal.
        duration_us: the duration of that audio, in microseconds.
        channels: the number of channels that were recognised.
    """
    return {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": identity.request_id,
        "sha256": sha256,
        "created": identity.created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": _seconds(duration_us),
        "channels": channels,
        "models": [MODEL_UUID],
        "model_info": {MODEL_UUID: _MODEL_INFO},
    }


def configure_success(identity: StreamIdentity, keyterms: Sequence[str] | None) -> Message:
    """Make a `ConfigureSuccess` message, with the keyterms if they were replaced."""
    message: Message = {"type": "ConfigureSuccess", "request_id": identity.request_id}
    if keyterms is not None:
        message["keyterms"] = list(keyterms)
    return message


def configure_failure(identity: StreamIdentity, code: str, description: str) -> Message:
    """Make a `ConfigureFailure` message."""
    return {
        "type": "ConfigureFailure",
        "request_id": identity.request_id,
        "code": code,
        "description": description,
    }


def schema_error(description: str, original: str) -> Message:
    """Make the `Error` message for a text message that was not understood."""
    return {
        "type": "Error",
        "variant": "SchemaError",
        "description": description,
        "message": original,
    }
