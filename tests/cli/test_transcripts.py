"""A transcript in each of its forms, and how long subtitles are."""

import io
import json
import re

import pytest
from deepgram_sagemaker.cli.progress import Bars
from deepgram_sagemaker.cli.transcripts import Format, failure, span_of, written
from deepgram_sagemaker.conversations.figures import Figures, Final, Streams, Word
from rich.console import Console


def spoken(text, *, start=0.0, each=0.5, speakers=None, channel=0, turn=None):
    """A final whose words follow each other."""
    words = tuple(
        Word(word, start + n * each, start + (n + 1) * each, 0.9, speakers and speakers[n])
        for n, word in enumerate(text.split())
    )
    return Final(channel, start, len(words) * each, text, len(words), words, turn)


def figures(*finals, **fields):
    made = Figures(**fields)
    made.finals.extend(finals)
    return made


def cues(form, *finals, **fields):
    text = written(form, "a.wav", figures(*finals, **fields))
    return [block.strip().split("\n") for block in text.removeprefix("WEBVTT\n").split("\n\n")]


def test_subtitles_have_at_most_two_lines_and_lose_no_word():
    text = " ".join(f"word{n}" for n in range(60))
    blocks = cues(Format.SRT, spoken(text, each=0.1))
    assert [block[0] for block in blocks] == [str(n + 1) for n in range(len(blocks))]
    assert all(len(block) <= 4 for block in blocks)
    assert all(len(line) <= 42 for block in blocks for line in block[2:])
    assert " ".join(line for block in blocks for line in block[2:]) == text
    ends = [block[1].split(" --> ")[1] for block in blocks]
    starts = [block[1].split(" --> ")[0] for block in blocks]
    assert starts[0] == "00:00:00,000"
    assert starts[1:] == ends[:-1]


def test_subtitles_are_short_and_end_at_pauses():
    slow = spoken("one two three four five six seven eight nine", each=1.0)
    assert [block[1] for block in cues(Format.SRT, slow)] == [
        "00:00:00,000 --> 00:00:07,000",
        "00:00:07,000 --> 00:00:09,000",
    ]
    before, after = spoken("one", each=1.0).spoken[0], Word("two", 4.0, 5.0)
    final = Final(0, 0.0, 5.0, "one two", 2, (before, after))
    assert [block[2] for block in cues(Format.SRT, final)] == ["one", "two"]


def test_words_without_times_are_one_subtitle():
    final = Final(0, 1.0, 2.0, "one two", 2, (Word("one"), Word("two")), 0)
    assert cues(Format.SRT, final) == [["1", "00:00:01,000 --> 00:00:03,000", "one two"]]


def test_a_text_without_words_is_one_subtitle():
    assert cues(Format.VTT, Final(0, 1.0, 2.0, "one two", 2)) == [
        ["00:00:01.000 --> 00:00:03.000", "one two"]
    ]


def test_speakers_have_voices():
    final = spoken("yes no <so> & so", speakers=[0, 1, 1, 1, 1])
    assert cues(Format.VTT, final) == [
        ["00:00:00.000 --> 00:00:00.500", "<v speaker 0>yes"],
        ["00:00:00.500 --> 00:00:02.500", "<v speaker 1>no &lt;so&gt; &amp; so"],
    ]
    assert [block[2] for block in cues(Format.SRT, final)] == [
        "speaker 0: yes",
        "speaker 1: no <so> & so",
    ]


def test_channels_have_voices_and_one_order_of_time():
    finals = [spoken("b", start=1.0), spoken("a", channel=1, speakers=[3])]
    assert [block[2] for block in cues(Format.SRT, *finals, channels=2)] == [
        "channel 1, speaker 3: a",
        "channel 0: b",
    ]


@pytest.mark.parametrize(
    ("seconds", "stamp", "clock"),
    [
        (0.0004, "00:00:00,000", "0:00.00"),
        (59.9996, "00:01:00,000", "1:00.00"),
        (3_723.456, "01:02:03,456", "62:03.46"),
        (360_000.0, "100:00:00,000", "6000:00.00"),
    ],
)
def test_times_are_rounded_as_a_whole(seconds, stamp, clock):
    ((_, times, _),) = cues(Format.SRT, Final(0, seconds, 1.0, "a", 1))
    assert times.split(" --> ")[0] == stamp
    assert span_of(seconds, seconds).split(" ")[0] == clock


def test_text_has_turns_and_no_empty_lines():
    text = written(Format.TEXT, "a.wav", figures(spoken("a b", turn=2), Final(0, 1.0, 1.0, "", 0)))
    assert text == "[0:00.00 \N{EN DASH} 0:01.00]  turn 2  a b\n"


@pytest.mark.parametrize("form", Format)
def test_nothing_said_is_an_empty_transcript(form):
    text = written(form, "a.wav", figures())
    expected = {Format.TEXT: "", Format.SRT: "", Format.VTT: "WEBVTT\n"}
    if form is Format.JSON:
        assert json.loads(text)["type"] == "done"
    else:
        assert text == expected[form]


def test_json_has_what_is_known():
    final = Final(1, 0.1 + 0.2, 1.0, "ä", 1, (Word("ä", 0.3, 0.4, 0.5), Word("b")))
    made = figures(final, channels=2, streams=Streams(2, {"reset": 1}, 0, 0, 1 / 3))
    line, done = map(json.loads, written(Format.JSON, "a.wav", made).splitlines())
    assert line == {
        "file": "a.wav",
        "type": "final",
        "channel": 1,
        "start": 0.3,
        "end": 1.3,
        "transcript": "ä",
        "words": [{"text": "ä", "start": 0.3, "end": 0.4, "confidence": 0.5}, {"text": "b"}],
    }
    assert done["replayed"] == 0.333333
    assert json.loads(written(Format.JSON, "a.wav", made, "no").splitlines()[-1]) == json.loads(
        failure("a.wav", "no")
    )


def test_a_terminal_has_a_bar_for_each_recording():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with Bars(console) as bars:
        known, unknown = bars.bar("a[b].wav", 4.0), bars.bar("standard input", None)
        known.interim(0.0, 1.0, "")
        unknown.final(spoken("one two", start=1.0))
        known.final(spoken("one"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    # The furthest result counts.
    assert re.search(r"a\[b\].wav .* 0:01.00 ", text)
    assert re.search(r"standard input .* 0:02.00 ", text)
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h")


def test_elsewhere_there_are_no_bars():
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=False)) as bars:
        bar = bars.bar("a.wav", 4.0)
        bar.interim(0.0, 1.0, "")
        bar.final(spoken("one"))
        bar.over()
    assert out.getvalue() == ""
