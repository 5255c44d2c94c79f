"""Python reads queries, WAV files and watermarks as the crates do.

The tables are in `tests/vectors`; `rust/local/tests/agreement.rs` reads them too.
"""

import dataclasses
import json
from pathlib import Path

import pytest
from deepgram_sagemaker.local.audio import AudioError, WavDecoder
from deepgram_sagemaker.local.marks import MarkReader
from deepgram_sagemaker.local.query import grouped, last
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_flux import ChunkClock

VECTORS = Path(__file__).parents[1] / "vectors"


def table(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", table("query.json"), ids=lambda case: case["query"])
def test_queries(case):
    query = grouped(case["pairs"])
    assert {key: last(query, key) for key in case["values"]} == case["values"]


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("case", table("wav.json"), ids=lambda case: case["name"])
def test_wav_files(case, size):
    head, after = (case[part].encode("latin-1") for part in ("head", "after"))
    file = head + b"\x07" * case["audio"] + after
    decoder, frames = WavDecoder(), 0
    try:
        for at in range(0, len(file), size):
            frames += len(decoder.decode(file[at : at + size]))
    except AudioError:
        assert not case["decodes"]
        return
    if not case["decodes"]:
        # The header has not ended.
        assert decoder.format is None or not frames
        return
    found, expected = decoder.format, case["format"]
    assert found is not None
    read = (found.sample_rate, found.channels, found.encoding.width)
    assert read == (expected["rate"], expected["channels"], expected["width"])
    assert frames * found.frame_size == case["heard"]


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("case", table("wav.json"), ids=lambda case: case["name"])
def test_the_clock_of_counted_turns(case, size):
    file = case["head"].encode("latin-1") + b"\x07" * case["audio"]
    clock = ChunkClock.of({})
    for at in range(0, len(file), size):
        clock.hear(file[at : at + size])
    other = {"rate": 32_000, "channels": 1, "width": 1}
    expected = case["format"] or other
    assert dataclasses.asdict(clock._known) == {key: expected[key] for key in other}


def audio_of(pieces):
    for piece in pieces:
        if "chunk" in piece:
            whole = chunk(piece["chunk"], piece["size"], width=1)
            yield whole[piece.get("from", 0) : piece.get("to")]
        else:
            yield bytes([piece["fill"]]) * piece["size"]


@pytest.mark.parametrize("size", [1, 7, 640, 10_000])
@pytest.mark.parametrize("case", table("marks.json"), ids=lambda case: case["name"])
def test_watermarks(case, size):
    audio, reader = b"".join(audio_of(case["audio"])), MarkReader()
    marks = [
        (mark.number, mark.start, mark.end)
        for at in range(0, len(audio), size)
        for mark in reader.read(audio[at : at + size])
    ]
    assert marks == [tuple(mark) for mark in case["marks"]]
