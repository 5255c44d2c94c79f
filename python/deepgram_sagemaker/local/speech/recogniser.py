"""The speech recogniser: moonshine-voice, with the model in its wheel."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from .activity import SAMPLE_RATE
from .extra import MissingExtraError

if TYPE_CHECKING:
    from deepgram_sagemaker.local.audio import Samples

__all__ = [
    "Recognise",
    "Recogniser",
    "import_moonshine",
    "shared_recogniser",
]


class Recognise(Protocol):
    """A recogniser: speech in, text out."""

    def __call__(self, samples: Samples, /) -> str:
        """Recognise 16 kHz mono samples; the text is empty if nothing was understood."""


class Recogniser:
    """Recognises whole stretches of English speech, called from any thread.

    Loading takes about a second and 150 MB: make one a process.
    """

    # The model fails on less audio: silence is added.
    _SHORTEST: Final = SAMPLE_RATE

    def __init__(self) -> None:
        transcriber = import_moonshine("transcriber")
        api = import_moonshine("moonshine_api")
        utils = import_moonshine("utils")
        self._one_at_a_time = threading.Lock()
        self._transcriber: Any = transcriber.Transcriber(
            utils.get_model_path("tiny-en"),
            api.ModelArch.TINY,
            options={
                # What is handed over is speech: the library's own detector, which is one for the
                # whole process and remembers the last stream it heard, stays out of it.
                "vad_threshold": 0.0,
                "vad_max_segment_duration": 60.0,
                "return_audio_data": "false",
            },
        )

    def __call__(self, samples: Samples, /) -> str:
        """Recognise 16 kHz mono samples. Takes roughly a tenth of their duration of CPU."""
        if len(samples) < self._SHORTEST:
            samples = np.pad(samples, (0, self._SHORTEST - len(samples)))
        # The library recognises one stretch at a time in any case, and what it returns lies in
        # memory that its next call reuses.
        with self._one_at_a_time:
            transcript = self._transcriber.transcribe_without_streaming(samples, SAMPLE_RATE)
        return " ".join(line.text.strip() for line in transcript.lines)


_lock: Final = threading.Lock()
_shared: list[Recogniser] = []


def shared_recogniser() -> Recogniser:
    """Return this process's recogniser. The first call loads it, and blocks.

    Raises:
        MissingExtraError: moonshine-voice is not installed.
    """
    with _lock:
        if not _shared:
            _shared.append(Recogniser())
        return _shared[0]


def import_moonshine(module: str) -> Any:  # noqa: ANN401 - the package is not typed
    """Import one of moonshine-voice's modules.

    Raises:
        MissingExtraError: moonshine-voice, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(f"moonshine_voice.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module) from error
