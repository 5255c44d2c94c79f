"""A transcript as text, JSON lines, SubRip and WebVTT."""

from __future__ import annotations

import dataclasses
import itertools
import json
import textwrap
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deepgram_sagemaker.conversations.figures import Figures, Word
    from deepgram_sagemaker.conversations.figures import Final as Result

__all__ = [
    "Format",
    "Passage",
    "conclusion",
    "failure",
    "line_of",
    "passages",
    "record",
    "span_of",
    "written",
]

# What is read at a glance: two lines, for a few seconds.
_LINE_WIDTH: Final = 42
_LINES: Final = 2
_MOST_SECONDS: Final = 7.0
# A pause after which a new subtitle begins.
_PAUSE: Final = 1.5


class Format(StrEnum):
    """The form of a transcript. The values are the suffixes of files."""

    TEXT = "txt"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


@dataclass(frozen=True, slots=True)
class Passage:
    """What one speaker said in one result.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        text: The text.
        words: Its words.
        voice: Who speaks: the channel and the speaker, where they are told apart.
        label: The same and the turn.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    voice: str
    label: str


def passages(final: Result, *, channels: bool) -> Iterator[Passage]:
    """Yield a result's passages: one for each run of a speaker's words. None if it is empty.

    Args:
        final: The result.
        channels: Whether to tell channels apart.
    """
    if not final.transcript:
        return
    place = [f"channel {final.channel}"] if channels else []
    turn = [f"turn {final.turn}"] if final.turn is not None else []
    runs = [
        (speaker, tuple(words))
        for speaker, words in itertools.groupby(final.spoken, key=lambda word: word.speaker)
    ] or [(None, ())]
    for speaker, words in runs:
        voice = [*place, *([] if speaker is None else [f"speaker {speaker}"])]
        # A result of one speaker has its own times and its own text, which may have no words.
        whole = len(runs) == 1
        start, end = (final.start, final.end) if whole else _times(words, final)
        yield Passage(
            start,
            end,
            final.transcript if whole else _text(words),
            words,
            ", ".join(voice),
            ", ".join([*place, *turn, *voice[len(place) :]]),
        )


def _times(words: Sequence[Word], final: Result) -> tuple[float, float]:
    start, end = words[0].start, words[-1].end
    return final.start if start is None else start, final.end if end is None else end


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def span_of(start: float, end: float) -> str:
    """Return times for people; both are in seconds."""
    return f"{_clock(start)} \N{EN DASH} {_clock(end)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 2), 60)
    return f"{int(minutes):d}:{rest:05.2f}"


def line_of(passage: Passage) -> str:
    """Return a passage as a line of text."""
    label = f"{passage.label}  " if passage.label else ""
    return f"[{span_of(passage.start, passage.end)}]  {label}{passage.text}"


def written(form: Format, name: str, figures: Figures, error: str | None = None) -> str:
    """Return a whole transcript.

    Args:
        form: Its form.
        name: What the recording is called, for JSON.
        figures: The conversation's figures.
        error: Why it ended early; None: it did not. For JSON.
    """
    channels = figures.channels > 1
    match form:
        case Format.TEXT:
            lines = [
                line_of(passage)
                for final in figures.finals
                for passage in passages(final, channels=channels)
            ]
            return "".join(f"{line}\n" for line in lines)
        case Format.JSON:
            records = [record(name, final) for final in figures.finals]
            records.append(conclusion(name, figures) if error is None else failure(name, error))
            return "".join(f"{line}\n" for line in records)
        case Format.SRT:
            blocks = (
                f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n"
                f"{_wrapped(f'{cue.voice}: {cue.text}' if cue.voice else cue.text)}\n"
                for number, cue in enumerate(_cues(figures, channels=channels), 1)
            )
            return "\n".join(blocks)
        case Format.VTT:
            blocks = (
                f"\n{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n"
                f"{f'<v {cue.voice}>' if cue.voice else ''}{_escaped(_wrapped(cue.text))}\n"
                for cue in _cues(figures, channels=channels)
            )
            return "WEBVTT\n" + "".join(blocks)


def record(name: str, final: Result) -> str:
    """Return a result as a line of JSON, without the line's end. It may be empty."""
    fields: dict[str, Any] = {
        "file": name,
        "type": "final" if final.turn is None else "turn",
        "channel": final.channel,
        "start": _rounded(final.start),
        "end": _rounded(final.end),
        "transcript": final.transcript,
        "words": [
            {field: value for field, value in dataclasses.asdict(word).items() if value is not None}
            for word in final.spoken
        ],
    }
    if final.turn is not None:
        fields["turn"] = final.turn
    return json.dumps(fields, ensure_ascii=False)


def conclusion(name: str, figures: Figures) -> str:
    """Return the figures at the end of a conversation as a line of JSON."""
    fields: dict[str, Any] = {
        "file": name,
        "type": "done",
        "seconds": _rounded(figures.audio_sent),
        "words": figures.words,
        "lost": _rounded(figures.lost),
        "repeated": _rounded(figures.repeated),
    }
    if figures.streams is not None:
        fields |= dataclasses.asdict(figures.streams)
        fields["replayed"] = _rounded(figures.streams.replayed)
    return json.dumps(fields, ensure_ascii=False)


def failure(name: str, reason: str) -> str:
    """Return why a conversation ended early as a line of JSON."""
    return json.dumps({"file": name, "type": "failed", "reason": reason}, ensure_ascii=False)


def _rounded(seconds: float) -> float:
    # The service's own precision.
    return round(seconds, 6)


def _cues(figures: Figures, *, channels: bool) -> list[Passage]:
    """Return passages of a size for subtitles, in the order of time."""
    cues = [
        cue
        for final in figures.finals
        for passage in passages(final, channels=channels)
        for cue in _split(passage)
    ]
    return sorted(cues, key=lambda cue: cue.start)


def _split(passage: Passage) -> Iterator[Passage]:
    part: list[Word] = []
    for word in passage.words:
        if word.start is None or word.end is None:
            # Without times there is nowhere to split.
            yield passage
            return
        if part and _is_full(part, word):
            yield _cue(passage, part)
            part = []
        part.append(word)
    yield _cue(passage, part) if part else passage


def _is_full(part: Sequence[Word], word: Word) -> bool:
    start, end = part[0].start or 0.0, part[-1].end or 0.0
    return (
        (word.end or 0.0) - start > _MOST_SECONDS
        or (word.start or 0.0) - end > _PAUSE
        or len(textwrap.wrap(_text([*part, word]), _LINE_WIDTH)) > _LINES
    )


def _cue(passage: Passage, words: Sequence[Word]) -> Passage:
    start, end = words[0].start, words[-1].end
    text = passage.text if len(words) == len(passage.words) else _text(words)
    return dataclasses.replace(
        passage,
        start=passage.start if start is None else start,
        end=passage.end if end is None else end,
        text=text,
        words=tuple(words),
    )


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _LINE_WIDTH, break_long_words=False))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
