"""PortAudio, through `sounddevice`, which comes with the `audio` extra."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker.conversations.recording import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["opened"]


@contextmanager
def opened(what: str) -> Iterator[Any]:
    """Yield the module, to open a device with; its errors become ours.

    Args:
        what: The device, for messages.

    Raises:
        AudioError: The module is not installed, or the device cannot be used.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise AudioError(
            f"{what} needs {error.name}: pip install 'deepgram-sagemaker[audio]'"
        ) from None
    except OSError as error:
        raise AudioError(f"{what} cannot be used: {error}") from None
    try:
        yield sounddevice
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"{what} cannot be used: {error}") from None
