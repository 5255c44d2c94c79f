"""Where the speech model can be had: moonshine-voice has wheels for few platforms."""

from __future__ import annotations

import os
import platform
import sys

__all__ = ["MissingExtraError", "advice"]


class MissingExtraError(ImportError):
    """A package of the `local` extra is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"the speech model needs {package}: {advice()}", name=package)


def advice() -> str:
    """Say in one line how to get the speech model, or that this platform has none."""
    if here := _without_wheel():
        return (
            f"moonshine-voice has no wheel for {here}; the model 'watermark' and models of your "
            "own work here"
        )
    return "pip install 'deepgram-sagemaker[local]'"


def _without_wheel() -> str | None:
    """Name this platform if no wheel of moonshine-voice fits it."""
    machine = platform.machine()
    match sys.platform, machine:
        case ("linux", "x86_64" | "aarch64"):
            oldest = (2, 34) if machine == "x86_64" else (2, 31)
            found = _glibc()
            if found is None:
                return f"{machine} Linux without glibc"
            if found < oldest:
                return f"{machine} Linux with glibc {found[0]}.{found[1]}"
            return None
        case ("darwin", "arm64"):
            release = platform.mac_ver()[0]
            return f"macOS {release}" if int(release.partition(".")[0] or 0) < 15 else None
        case ("win32", "AMD64"):
            return None
        case _:
            return f"{machine} {platform.system()}"


def _glibc() -> tuple[int, int] | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):
        return None
    parts = version.split(".")
    return (int(parts[0]), int(parts[1])) if name == "glibc" and len(parts) > 1 else None
