"""The columns of results, and the forms of the files that hold them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from deepgram_sagemaker.conversations.reasons import reason_of
from deepgram_sagemaker.errors import SageMakerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deepgram_sagemaker.conversations.figures import Figures

    from .places import Place

__all__ = [
    "SPOKEN",
    "TRANSCRIPTS",
    "Format",
    "as_table",
    "failure",
    "in_format",
    "key_of",
    "names_in",
    "read_rows",
    "transcript_rows",
]

type Format = Literal["parquet", "jsonl"]

_ERROR: Final = pa.struct(
    [
        ("type", pa.string()),
        ("message", pa.string()),
        ("status", pa.int32()),
        ("code", pa.string()),
        ("reason", pa.string()),
    ]
)
_WORD: Final = pa.struct(
    [
        ("word", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("confidence", pa.float64()),
        ("speaker", pa.int32()),
    ]
)
_SEGMENT: Final = pa.struct(
    [
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("text", pa.string()),
        ("turn", pa.int32()),
    ]
)

TRANSCRIPTS: Final = pa.schema(
    [
        ("path", pa.string()),
        ("channel", pa.int32()),
        ("text", pa.string()),
        ("words", pa.list_(_WORD)),
        ("segments", pa.list_(_SEGMENT)),
        ("seconds", pa.float64()),
        ("attempts", pa.int32()),
        ("resets", pa.int32()),
        ("error", _ERROR),
    ]
)
"""The columns of transcripts: a row for each channel of a recording."""

SPOKEN: Final = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("seconds", pa.float64()),
        ("characters", pa.int32()),
        ("warnings", pa.list_(pa.string())),
        ("attempts", pa.int32()),
        ("resets", pa.int32()),
        ("error", _ERROR),
    ]
)
"""The columns of spoken texts: a row for each."""

# The service's own precision.
_DECIMALS: Final = 6


def key_of(schema: pa.Schema) -> str:
    """Return the column that says what a row is about."""
    return str(schema.names[0])


def transcript_rows(path: str, figures: Figures, attempts: int) -> list[dict[str, Any]]:
    """Return a recording's rows, one for each channel."""
    streams = figures.streams
    return [
        {
            "path": path,
            "channel": channel,
            "text": " ".join(final.transcript for final in finals if final.transcript),
            "words": [
                {
                    "word": word.text,
                    "start": _rounded(word.start),
                    "end": _rounded(word.end),
                    "confidence": word.confidence,
                    "speaker": word.speaker,
                }
                for final in finals
                for word in final.spoken
            ],
            "segments": [
                {
                    "start": _rounded(final.start),
                    "end": _rounded(final.end),
                    "text": final.transcript,
                    "turn": final.turn,
                }
                for final in finals
                if final.transcript
            ],
            "seconds": _rounded(figures.audio_sent),
            "attempts": attempts,
            "resets": 0 if streams is None else sum(streams.resets.values()),
            "error": None,
        }
        for channel in range(figures.channels)
        for finals in [[each for each in figures.finals if each.channel == channel]]
    ]


def failure(error: Exception) -> dict[str, Any]:
    """Return an error as the column `error` has it."""
    ours = error if isinstance(error, SageMakerError) else None
    return {
        "type": type(error).__name__,
        "message": reason_of(error),
        "status": None if ours is None else ours.status,
        "code": None if ours is None else ours.code,
        "reason": None if ours is None else ours.reason,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, _DECIMALS)


def as_table(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table; a column that a row does not have is null."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def in_format(table: pa.Table, form: Format) -> bytes:
    """Return a file's content."""
    if form == "parquet":
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()
    lines = (json.dumps(row, ensure_ascii=False) for row in table.to_pylist())
    return "".join(f"{line}\n" for line in lines).encode()


def read_rows(place: Place, schema: pa.Schema, form: Format) -> pa.Table:
    """Read a file of rows.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file.
    """
    with place.filesystem.open_input_file(place.path) as file:
        if form == "parquet":
            return pq.read_table(file).cast(schema)
        return as_table(map(json.loads, _lines(file.read())), schema)


def names_in(place: Place, schema: pa.Schema, form: Format) -> set[str]:
    """Return what the rows of a file are about.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file.
    """
    key = key_of(schema)
    with place.filesystem.open_input_file(place.path) as file:
        if form == "parquet":
            return set(pq.read_table(file, columns=[key])[key].to_pylist())
        return {json.loads(line)[key] for line in _lines(file.read())}


def _lines(data: bytes) -> list[bytes]:
    # Not `splitlines`: a text may have any of the characters that it splits at.
    return [line for line in data.split(b"\n") if line]
