"""Captions: in place in a terminal, plain and complete elsewhere."""

import io
import re

import pytest
from deepgram_sagemaker.cli.captions import Captions, heading, summary, summary_rows
from deepgram_sagemaker.conversations.figures import Figures, Final, Streams, Word
from rich.console import Console

LONG = "a line that is much longer than forty characters, which is all the room there is"


def shown(*, terminal):
    out = io.StringIO()
    return out, Console(file=out, width=40, force_terminal=terminal, color_system="standard")


def speak(console, **options):
    with Captions(console, **options) as captions:
        captions.interim(0.0, 1.5, "It was")
        captions.interim(0.0, 2.0, "It was the best")
        captions.final(Final(0, 0.0, 4.7, "It was the best of times,", 6))
        captions.final(Final(0, 4.7, 70.0, "", 0))
        captions.final(Final(1, 74.7, 1.0, LONG, 15))


def test_plain_captions_are_the_finals_with_their_times_and_nothing_else():
    out, console = shown(terminal=False)
    speak(console)
    assert out.getvalue().splitlines() == [
        "[0:00.00 \N{EN DASH} 0:04.70]  It was the best of times,",
        f"[1:14.70 \N{EN DASH} 1:15.70]  {LONG}",
    ]


def test_channels_are_told_apart_when_there_are_several():
    out, console = shown(terminal=False)
    speak(console, channels=True)
    assert "]  channel 1  a line" in out.getvalue()


def test_in_a_terminal_the_interim_is_shown_in_place_and_gone_at_the_end():
    out, console = shown(terminal=True)
    speak(console)
    text = out.getvalue()
    # In place: the line that an interim was on is erased before the next.
    first, erased, rest = text.partition("\r\x1b[2K")
    assert "It was " in first
    assert erased
    assert "It was the best " in rest
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    # Wrapped in its column. Joined again it has the whole final, and not the interim.
    words = " ".join(seen.split())
    assert "0:04.70 It was the best of times," in words
    assert words.endswith("all the room there is")


def test_the_terminal_is_given_back_after_an_error():
    out, console = shown(terminal=True)
    captions = Captions(console)
    with pytest.raises(ZeroDivisionError), captions:
        captions.interim(0, 1 / 0, "It was")
    # The cursor was hidden, and is back.
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1


def figures(**changes):
    made = Figures(
        chunks_sent=2_219,
        bytes_sent=4_260_326,
        messages_received=90,
        interims=70,
        audio_sent=44.374125,
        cpu=1.0,
        cpu_chunks=2_000,
        elapsed=22.2,
    )
    for end in (4.7, 44.374125):
        start = sum(final.duration for final in made.finals)
        made.final(Final(0, start, end - start, "one two three", 3), 0.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_the_summary_says_what_it_came_to():
    assert summary_rows(figures(), 0.0504) == [
        ("Audio", "44.37 s in 22.2 s, 2.0 times real time"),
        ("Words", "6"),
        ("Word errors", "5.0% against what was read"),
        ("Sent", "4,260,326 bytes in 2,219 chunks"),
        ("Received", "90 messages: 2 final and 70 interim results"),
        ("CPU", "500 µs a chunk under way, SDK included"),
        ("Lost", "nothing: the final results tile the audio"),
    ]


def test_the_summary_says_what_the_connection_went_through():
    streams = Streams(5, {"reset": 2, "dropped": 1}, retries=1, rollovers=1, replayed=2.345)
    rows = dict(summary_rows(figures(streams=streams), None))
    assert rows["Streams"] == (
        "5: 3 resets (1 dropped, 2 reset), 1 retry, 1 rollover, 2.35 s of audio sent again"
    )


def test_turns_have_no_tiles():
    rows = dict(summary_rows(figures(windows_until=44.2), None))
    assert rows["Received"] == "90 messages: 2 turns and 70 reports within turns"
    assert rows["Lost"].startswith("nothing: the turns do not overlap")
    rows = dict(summary_rows(figures(windows_until=43.0), None))
    assert rows["Lost"] == "1.374 s of audio without a final result, 0.000 s twice"


def test_speakers_and_turns_have_labels():
    out, console = shown(terminal=False)
    words = [Word(text, n, n + 0.5, speaker=n // 2) for n, text in enumerate(["a", "b", "c", "d"])]
    with Captions(console) as captions:
        captions.final(Final(0, 0.0, 4.0, "a b c d", 4, tuple(words)))
        captions.final(Final(0, 4.0, 1.0, "e", 1, turn=3))
    dash = "\N{EN DASH}"
    assert out.getvalue().splitlines() == [
        f"[0:00.00 {dash} 0:01.50]  speaker 0  a b",
        f"[0:02.00 {dash} 0:03.50]  speaker 1  c d",
        f"[0:04.00 {dash} 0:05.00]  turn 3  e",
    ]


def test_the_summary_says_what_was_lost():
    rows = dict(summary_rows(figures(audio_sent=50.0), None))
    assert rows["Lost"] == "5.626 s of audio without a final result, 0.000 s twice"
    assert "Word errors" not in rows


def test_a_plain_summary_and_heading_have_no_codes_and_no_frames():
    out, console = shown(terminal=False)
    heading(console, "Transcribing [this]", [("Recording", LONG)])
    summary(console, figures(), errors=None, good=True)
    text = out.getvalue()
    assert text.startswith(f"Transcribing [this]\n  Recording: {LONG}\n")
    assert "\nSent:        4,260,326 bytes in 2,219 chunks\n" in text
    assert not re.search(r"[\x1b│╭]", text)


def test_in_a_terminal_they_are_framed_in_the_colour_of_the_outcome():
    for good, colour in ((True, "\x1b[32m"), (False, "\x1b[31m")):
        out, console = shown(terminal=True)
        summary(console, figures(), errors=0.05, good=good)
        assert f"{colour}╭─" in out.getvalue()
