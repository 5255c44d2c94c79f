"""The command line: `deepgram-sagemaker local`, `demo`, `transcribe`, `speak`, `doctor`, `gateway`.

`app` has the commands and their options; `transcribe`, `speak` and `gateway` have modules of their
own. Each other module does one part of the work.

May import `factory`, `gateway`, `local`, `doctor`, `config` and `errors`, and for the gateway's
figures `exposition`, `meters` and `otel`; never `transport` or what lies below it. Needs the `cli`
extra; the demos and the model that hears speech need `local`. Tests: tests/cli, and end to end
tests/e2e/test_readme.py.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; exits the process."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        # A missing module of ours means a broken installation, which the advice below cannot fix.
        if error.name is None or error.name.partition(".")[0] == "deepgram_sagemaker":
            raise
        sys.exit(
            f"deepgram-sagemaker: the command line needs {error.name}, which comes with\n"
            "    pip install 'deepgram-sagemaker[cli]'"
        )
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    try:
        # By one name, however it was started: shells complete the command by it.
        app(prog_name="deepgram-sagemaker")
    except KeyboardInterrupt:
        # While typer makes the commands, which takes a tenth of a second.
        sys.exit(_INTERRUPTED)
