"""Starts the commands of pages from a process that has loaded their modules.

Loading them takes most of the time of most commands. The client (`client.py`) sends its arguments,
environment, directory and standard streams over a socket; here a child of this process runs the
command as a program of its own, and its status goes back. Signals pass, and a client that is killed
takes its command with it.

    python starter.py SOCKET
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from pathlib import Path

MODULES = """
    aws_sdk_sagemaker_runtime_http2.models aws_sdk_signers smithy_aws_core.aio.protocols
    smithy_aws_core.interceptors.user_agent smithy_http.aio smithy_http.interceptors.user_agent
    boto3 botocore.session deepgram httpcore jmespath packaging.requirements
    deepgram.agent.v1.client deepgram.listen.v1.client deepgram.listen.v2.client
    deepgram.speak.v1.client deepgram.speak.v2.client
    deepgram_sagemaker.aws.client deepgram_sagemaker.aws.operation deepgram_sagemaker.transport
    deepgram_sagemaker.cli.app deepgram_sagemaker.cli.doctoring deepgram_sagemaker.cli.serving
    deepgram_sagemaker.cli.transcribing deepgram_sagemaker.local.endpoint
"""
"""What most commands load. None of them starts a thread, so that this process can be forked."""

HERE = Path(__file__).parent


def serve(listener):
    """Returns in a child that has to run a command, with the command's arguments."""
    watchers = set()
    while True:
        connection, _ = listener.accept()
        told, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        watcher = os.fork()
        if watcher:
            watchers.add(watcher)
            connection.close()
            for file in files:
                os.close(file)
            for each in list(watchers):
                if os.waitpid(each, os.WNOHANG)[0]:
                    watchers.discard(each)
            continue
        listener.close()
        os.setsid()
        child = os.fork()
        if child:
            for file in (0, 1, 2, *files):
                os.close(file)
            watch(connection, child)
        connection.close()
        return become(json.loads(told), files)


def watch(connection, child):
    """Passes signals to a command and its status back, until it has ended."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                connection.sendall(bytes([code if code >= 0 else 128 - code]))
            os._exit(0)
        if select.select([connection], [], [], 0.01)[0]:
            number = connection.recv(1)
            if not number:
                os.killpg(0, signal.SIGKILL)
            os.kill(child, number[0])


def become(told, files):
    """Makes this process one that was started with these settings."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(told["directory"])
    os.environ.clear()
    os.environ.update(told["environment"])
    time.tzset()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    return told["arguments"]


def run(arguments):
    """Runs a command in this process, which ends as the command's process would."""
    command, *rest = arguments
    match command:
        case "deepgram-sagemaker":
            sys.argv = [command, *rest]
            runpy.run_module("deepgram_sagemaker.cli", run_name="__main__")
        case "python":
            file = Path(rest[0])
            sys.argv = rest
            sys.path.insert(0, str(file.absolute().parent))
            runpy.run_path(str(file), run_name="__main__")
        case _:
            sys.argv = [command, *rest]
            runpy.run_path(str(HERE / f"{command}.py"), run_name="__main__")


def main():
    # Only the command's own directory and what is installed are on its path.
    del sys.path[0]
    for module in MODULES.split():
        importlib.import_module(module)
    # Otherwise most of a command's time goes into collecting all of this at its end.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        arguments = serve(listener)
    run(arguments)


if __name__ == "__main__":
    main()
