"""The native part of the local endpoint, which a slim build leaves out."""

from __future__ import annotations

try:
    from deepgram_sagemaker._native import LocalServer, LocalStream, watermark
except ImportError:
    raise ImportError(
        "this build of deepgram-sagemaker has no local endpoint: its native part was built without "
        "the Cargo feature `local`"
    ) from None

__all__ = ["LocalServer", "LocalStream", "watermark"]
