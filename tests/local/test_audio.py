"""Decoding and resampling: golden values, and the same audio through any split of its bytes."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from deepgram_sagemaker.local.audio import (
    AudioError,
    AudioFormat,
    Encoding,
    RawDecoder,
    Resampler,
    WavDecoder,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st


def wav(
    data: bytes, *, fmt: bytes | None = None, size: int | None = None, extra: bytes = b""
) -> bytes:
    """A WAV file of 16-bit stereo at 8 kHz, or of what `fmt` says."""
    fmt = fmt if fmt is not None else struct.pack("<HHIIHH", 1, 2, 8_000, 32_000, 4, 16)
    return (
        b"RIFF\xff\xff\xff\xffWAVE"
        + extra
        + struct.pack("<4sI", b"fmt ", len(fmt))
        + fmt
        + struct.pack("<4sI", b"data", len(data) if size is None else size)
        + data
    )


def decode(decoder, *parts):
    return np.concatenate([decoder.decode(part) for part in parts])


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        (Encoding.LINEAR16, b"\x00\x80\x00\x00\x00\x40", [-1.0, 0.0, 0.5]),
        (Encoding.LINEAR32, struct.pack("<3f", -0.25, 0.0, 0.5), [-0.25, 0.0, 0.5]),
        (Encoding.LINEAR8, b"\x00\x80\xc0", [-1.0, 0.0, 0.5]),
        (Encoding.LINEAR24, b"\x00\x00\x80\x00\x00\x00\x00\x00\x40", [-1.0, 0.0, 0.5]),
        (Encoding.LINEAR32_INTEGER, struct.pack("<3i", -(1 << 31), 0, 1 << 30), [-1.0, 0.0, 0.5]),
        (Encoding.LINEAR64, struct.pack("<3d", -0.25, 0.0, 0.5), [-0.25, 0.0, 0.5]),
        # G.711's own values: both ends, and the two codes nearest to zero.
        (Encoding.MULAW, b"\x00\x80\xff\x7f", [-32124 / 32768, 32124 / 32768, 0.0, 0.0]),
        (
            Encoding.ALAW,
            b"\x2a\xaa\xd5\x55",
            [-32256 / 32768, 32256 / 32768, 8 / 32768, -8 / 32768],
        ),
    ],
)
def test_each_encoding_decodes_to_its_values(encoding, data, expected):
    samples = RawDecoder(AudioFormat(encoding, 8_000, 1)).decode(data)
    assert samples.dtype == np.float32
    assert samples[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_companded_codes_are_symmetric_and_all_distinct(encoding):
    samples = RawDecoder(AudioFormat(encoding, 8_000, 1)).decode(bytes(range(256)))[:, 0]
    positive = set(samples[samples > 0].tolist())
    assert positive == {-value for value in samples[samples < 0].tolist()}
    assert len(positive) in (127, 128)  # mu-law has two zeros


def test_floats_that_are_no_numbers_become_silence_and_loud_ones_are_clipped():
    data = struct.pack("<4f", float("nan"), float("inf"), float("-inf"), 7.0)
    samples = RawDecoder(AudioFormat(Encoding.LINEAR32, 8_000, 1)).decode(data)
    assert samples[:, 0].tolist() == [0.0, 1.0, -1.0, 1.0]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_raw_audio_is_the_same_through_any_split(data, cuts):
    audio_format = AudioFormat(Encoding.LINEAR24, 8_000, 2)
    whole = RawDecoder(audio_format).decode(data)
    assert whole.shape == (len(data) // 6, 2)
    assert np.array_equal(decode(RawDecoder(audio_format), *split_at(data, cuts)), whole)


@given(st.binary(max_size=80), st.lists(st.integers(0, 200), max_size=8))
def test_a_wav_file_is_the_same_through_any_split(data, cuts):
    data = data[: len(data) // 4 * 4]
    file = wav(data, extra=b"LIST\x03\x00\x00\x00abc\x00")
    decoder = WavDecoder()
    parts = [decoder.decode(part) for part in split_at(file, cuts)]
    samples = np.concatenate([part for part in parts if len(part)] or [np.empty((0, 2))])
    assert decoder.format == AudioFormat(Encoding.LINEAR16, 8_000, 2)
    assert samples.tolist() == (np.frombuffer(data, "<i2").reshape(-1, 2) / 32768).tolist()


def test_audio_ends_with_the_data_chunk():
    decoder = WavDecoder()
    samples = decoder.decode(wav(b"\x01\x00\x02\x00", size=4) + b"LIST\x04\x00\x00\x00xxxx")
    assert samples.shape == (1, 2)
    assert decoder.ended
    assert not len(decoder.decode(b"\x00" * 8))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_data_chunk_of_unknown_size_has_no_end(size):
    decoder = WavDecoder()
    assert len(decoder.decode(wav(b"\x00" * 8, size=size))) == 2
    assert len(decoder.decode(b"\x00" * 8)) == 2
    assert not decoder.ended


def test_an_extensible_format_is_read_from_its_sub_format():
    fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8_000, 8_000, 1, 8, 22, 8, 0)
    fmt += struct.pack("<H", 7) + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    decoder = WavDecoder()
    decoder.decode(wav(b"", fmt=fmt))
    assert decoder.format == AudioFormat(Encoding.MULAW, 8_000, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OggS", "does not start with RIFF"),
        (b"R\x00", "does not start with RIFF"),
        (b"RIFF\x00\x00\x00\x00AVI ", "RIFF … WAVE"),
        (b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00", "data before its format"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x04\x00\x00\x00", "format chunk of 4 bytes"),
        (b"RIFF\x00\x00\x00\x00WAVEjunk\xff\xff\xff\x7f", "before its audio"),
        (wav(b"", fmt=struct.pack("<HHIIHH", 85, 1, 8_000, 0, 1, 0)), "format 85 with 0 bits"),
        (wav(b"", fmt=struct.pack("<HHIIHH", 1, 0, 8_000, 0, 1, 16)), "0 channels"),
    ],
)
def test_what_is_no_usable_wav_file_is_refused_with_the_reason(data, reason):
    with pytest.raises(AudioError, match=reason):
        WavDecoder().decode(data)


@pytest.mark.parametrize("source", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone_and_its_time(source):
    seconds = np.arange(source) / source
    tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    resampler = Resampler(source, 16_000)
    out = np.concatenate((resampler.push(tone), resampler.flush()))
    assert len(out) == 16_000
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(out - expected)[200:-200].max() < 0.01


@pytest.mark.parametrize("source", [24_000, 44_100, 48_000])
def test_resampling_down_removes_what_the_new_rate_cannot_hold(source):
    tone = np.sin(2 * np.pi * 10_500 * np.arange(source) / source).astype(np.float32)
    assert np.abs(Resampler(source, 16_000).push(tone))[200:-200].max() < 0.05


@given(
    st.sampled_from([8_000, 11_025, 44_100, 48_000]),
    st.lists(st.integers(0, 700), max_size=12),
)
def test_resampling_has_no_seams(source, lengths):
    samples = np.random.default_rng(1).uniform(-1, 1, sum(lengths)).astype(np.float32)
    whole = Resampler(source, 16_000)
    expected = np.concatenate((whole.push(samples), whole.flush()))
    pieces = Resampler(source, 16_000)
    starts = np.cumsum([0, *lengths])
    out = [pieces.push(samples[a:b]) for a, b in pairwise(starts)]
    assert np.allclose(np.concatenate([*out, pieces.flush()]), expected, atol=1e-6)
    assert len(expected) == -(-len(samples) * 16_000 // source)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_every_code_of_the_telephone_is_its_own_nearest(encoding):
    codes = bytes(range(256))
    samples = RawDecoder(AudioFormat(encoding, 8_000, 1)).decode(codes)[:, 0]
    again = RawDecoder(AudioFormat(encoding, 8_000, 1)).decode(encode(samples, encoding))[:, 0]
    assert again.tolist() == samples.tolist()


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 4 == 0))
def test_linear_samples_come_back(data):
    linear16 = RawDecoder(AudioFormat(Encoding.LINEAR16, 8_000, 1)).decode(data)[:, 0]
    assert encode(linear16, Encoding.LINEAR16) == data
    assert encode(linear16, Encoding.LINEAR32) == linear16.astype("<f4").tobytes()


def test_what_is_too_loud_is_clipped():
    loud = np.array([-2, -1, 1, 2], np.float32)
    assert encode(loud, Encoding.LINEAR16) == struct.pack("<4h", -32768, -32768, 32767, 32767)
    assert encode(loud, Encoding.MULAW) == bytes([0x00, 0x00, 0x80, 0x80])
    assert encode(loud, Encoding.ALAW) == bytes([0x2A, 0x2A, 0xAA, 0xAA])
    with pytest.raises(ValueError, match="linear24"):
        encode(loud, Encoding.LINEAR24)
