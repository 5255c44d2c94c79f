"""`local` and `gateway` on a page: starts the server on a free port, and ends it once it is up."""

import os
import runpy
import signal
import sys

UP = {"local": "AsyncDeepgramClient(", "gateway": "websocat "}
"""What is in the last line that each prints before it serves."""

command, *arguments = sys.argv[1:]
if "--port" in arguments:
    at = arguments.index("--port")
    # A page's number is checked by the command, but another test may listen on it.
    if not 0 <= int(arguments[at + 1]) <= 65535:
        sys.exit(f"no port: {arguments[at + 1]}")
    del arguments[at : at + 2]
reading, writing = os.pipe()
endpoint = os.fork()
if not endpoint:
    os.close(reading)
    os.dup2(writing, 1)
    # The one before is for a file, and would seek.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.argv = ["deepgram-sagemaker", command, *arguments, "--port", "0"]
    runpy.run_module("deepgram_sagemaker.cli", run_name="__main__")
    sys.exit(0)
os.close(writing)
with os.fdopen(reading, encoding="utf-8") as printed:
    for line in printed:
        sys.stdout.write(line)
        if UP[command] in line or line.startswith("{"):
            os.kill(endpoint, signal.SIGINT)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(endpoint, 0)[1]))
