"""Errors in the words of people."""

from __future__ import annotations

from deepgram_sagemaker.errors import SageMakerError

__all__ = ["ConversationError", "reason_of"]


class ConversationError(Exception):
    """The conversation did not end in order."""


def reason_of(error: Exception) -> str:
    """Return an error as one line. If nothing in it speaks to people, its class is named."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {error.filename}"
    text = " ".join(str(error).split())
    ours = (SageMakerError, ConversationError, OSError, ValueError, ImportError)
    if isinstance(error, ours) or type(error).__module__.startswith("botocore."):
        return text or type(error).__name__
    return f"unexpected {type(error).__name__}: {text}"
