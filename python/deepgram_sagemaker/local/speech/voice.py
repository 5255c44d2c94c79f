"""Voices for people: `espeak-ng` if the machine has it, otherwise tones."""

from __future__ import annotations

import math
import random
import re
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

from deepgram_sagemaker.local.audio import Encoding, Resampler, WavDecoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepgram_sagemaker.local.audio import Samples
    from deepgram_sagemaker.local.speak import AudioOutput, Voice

__all__ = ["EspeakVoice", "ToneVoice", "espeak", "speaking_voices"]

# A sentence, with the space behind it.
_SENTENCE: Final = re.compile(r"[.!?…]+[\"')\]]*\s+")
# The voice and the pace that the recogniser understands best.
_VOICE: Final = "en-us+f2"
_WORDS_A_MINUTE: Final = 150
_PITCH: Final = 50


def espeak() -> str | None:
    """Return the path of `espeak-ng`; None: this machine does not have it."""
    return shutil.which("espeak-ng")


def speaking_voices(*, varies: bool = False) -> Callable[[AudioOutput], Voice]:
    """Return the maker of a stream's voice: the best on this machine.

    Args:
        varies: whether the voice differs a little from stream to stream.
    """
    program = espeak()

    def voice(output: AudioOutput) -> Voice:
        draws = random.Random() if varies else None  # noqa: S311 - how a voice sounds
        if program is not None:
            return EspeakVoice(program, output, draws)
        return ToneVoice(output, draws)

    return voice


class EspeakVoice:
    """Speaks English with `espeak-ng`, a sentence at a time.

    Args:
        program: the path of `espeak-ng`.
        output: the format of the audio.
        draws: varies pace and pitch a little, once; None: they are always the same.
    """

    boundary: Final = _SENTENCE

    def __init__(
        self, program: str, output: AudioOutput, draws: random.Random | None = None
    ) -> None:
        self._program = program
        self._output = output
        self._pace = _WORDS_A_MINUTE * (draws.uniform(0.95, 1.05) if draws else 1.0)
        self._pitch = str(_PITCH + (draws.randint(-4, 4) if draws else 0))

    def __call__(self, text: str, speed: float, /) -> bytes:
        """Speak one sentence; it takes some hundredths of a second.

        Raises:
            subprocess.CalledProcessError: `espeak-ng` failed.
        """
        # The text goes in by standard input, where nothing is taken for an option.
        pace = str(round(self._pace * speed))
        spoken = subprocess.run(  # noqa: S603 - no shell, and no argument from outside
            [self._program, "--stdin", "--stdout", "-v", _VOICE, "-s", pace, "-p", self._pitch],
            input=text.encode(errors="replace"),
            stdout=subprocess.PIPE,
            check=True,
        )
        decoder = WavDecoder()
        samples = decoder.decode(spoken.stdout)[:, 0]
        known = decoder.format
        if known is None:
            return b""
        resampler = Resampler(known.sample_rate, self._output.sample_rate)
        whole = np.concatenate((resampler.push(samples), resampler.flush()))
        return encode(whole, Encoding(self._output.encoding))


class ToneVoice:
    """Plays a tone for each word, as long as the word would take.

    Args:
        output: the format of the audio.
        draws: varies lengths and pitches a little; None: a word always sounds the same.
    """

    boundary: Final = _SENTENCE

    _LETTER: Final = 0.065
    _GAP: Final = 0.06
    _STOP: Final = 0.25
    _EDGE: Final = 0.01
    _LOUDNESS: Final = 0.25
    _LOWEST: Final = 180.0

    def __init__(self, output: AudioOutput, draws: random.Random | None = None) -> None:
        self._output = output
        self._draws = draws

    def __call__(self, text: str, speed: float, /) -> bytes:
        """Say one stretch of text."""
        sounds = [np.empty(0, np.float32)]
        for word in text.split():
            letters = sum(character.isalnum() for character in word)
            if letters:
                sounds.append(self._tone(word, (letters + 1) * self._LETTER / speed))
            stops = not word[-1].isalnum()
            sounds.append(self._silence((self._STOP if stops else self._GAP) / speed))
        return encode(np.concatenate(sounds), Encoding(self._output.encoding))

    def _tone(self, word: str, seconds: float) -> Samples:
        # Two octaves; the same word has the same pitch.
        pitch = self._LOWEST * 2 ** (zlib.crc32(word.encode()) % 24 / 12)
        if self._draws is not None:
            pitch *= self._draws.uniform(0.98, 1.02)
            seconds *= self._draws.uniform(0.9, 1.1)
        rate = self._output.sample_rate
        count = round(seconds * rate)
        time = np.arange(count) / rate
        # Faded at its edges, so that it does not click.
        edge = np.minimum(np.arange(count), np.arange(count)[::-1]) / (self._EDGE * rate)
        envelope = np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2
        tone = self._LOUDNESS * envelope * np.sin(2 * math.pi * pitch * time)
        samples: Samples = tone.astype(np.float32)
        return samples

    def _silence(self, seconds: float) -> Samples:
        return np.zeros(round(seconds * self._output.sample_rate), np.float32)
