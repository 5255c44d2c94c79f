"""`deepgram-sagemaker local` on a page: starts it on a free port, and ends it once it is up."""

import signal
import subprocess
import sys

arguments = sys.argv[1:]
if "--port" in arguments:
    at = arguments.index("--port")
    # A page's number is checked by the command, but another test may listen on it.
    if not 0 <= int(arguments[at + 1]) <= 65535:
        sys.exit(f"no port: {arguments[at + 1]}")
    del arguments[at : at + 2]
command = [sys.executable, "-m", "deepgram_sagemaker.cli", "local", *arguments, "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        sys.stdout.write(line)
        if "AsyncDeepgramClient(" in line or line.startswith("{"):
            process.send_signal(signal.SIGINT)
sys.exit(process.returncode)
