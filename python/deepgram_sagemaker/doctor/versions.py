"""The versions in use."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Final

from .findings import FailedError, Told

if TYPE_CHECKING:
    from .case import Case

__all__ = ["versions"]

_PACKAGES: Final = (
    "deepgram-sagemaker",
    "deepgram-sdk",
    "aws-sdk-sagemaker-runtime-http2",
    "boto3",
    "botocore",
)


async def versions(_: Case) -> Told:
    """Say which versions are installed."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    missing = []
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        raise FailedError(f"not installed: {', '.join(missing)}", **found)
    shown = [f"{name} {version}" for name, version in found.items() if name != "platform"]
    return Told(f"{', '.join(shown)}, {found['platform']}", found)
