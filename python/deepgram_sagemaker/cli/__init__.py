"""What people type: `deepgram-sagemaker local`, `demo` and `transcribe`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; exits the process."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        # Ours missing would be a broken installation, which this advice would not mend.
        if error.name is None or error.name.partition(".")[0] == "deepgram_sagemaker":
            raise
        sys.exit(
            f"deepgram-sagemaker: the command line needs {error.name}, which comes with\n"
            "    pip install 'deepgram-sagemaker[local]'"
        )
    app()
