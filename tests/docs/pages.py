"""Runs the blocks of a page, as a reader would: in one directory, one shell, one Python session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import tomllib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import yaml

from .blocks import Block, blocks_of
from .policies import wrong_actions

COMMANDS = Path(__file__).parent / "commands"
SESSION = Path(__file__).parent / "python_session.py"

GATEWAY = "127.0.0.1:8080"
"""Where the gateway of a page listens."""

PATIENCE = 60.0
"""Seconds that one block may take."""

_CLIENT = f'exec "{sys.executable}" -I -S "{COMMANDS}/client.py"'

# What each command does with its arguments.
_WRAPPERS = {
    "aws": f'{_CLIENT} aws "$@"',
    "pip": f'{_CLIENT} pip "$@"',
    "uv": f'{_CLIENT} pip "$@"',
    # Options of the interpreter are for one that begins.
    "python": f'case "$1" in -* | "") exec "{sys.executable}" "$@" ;; esac; {_CLIENT} python "$@"',
    "pytest": f'exec "{sys.executable}" -m pytest -p no:cacheprovider "$@"',
    # Servers have to end. `demo` and `load` take minutes: their options are checked; tests/cli runs
    # them.
    "deepgram-sagemaker": f'''case "$1" in
    local | gateway) {_CLIENT} server "$@" ;;
    demo | load) set -- "$@" --help ;;
esac
{_CLIENT} deepgram-sagemaker "$@"''',
}


_OF_A_BUSY_MACHINE = re.compile(r"^.*\btakes more than \d+ s; it is waited for .*\n", re.MULTILINE)
"""Warnings that a page cannot foresee: reading files takes seconds while everything else runs."""


UNREADABLE = not hasattr(os, "fork") or shutil.which("bash") is None
"""Whether pages cannot be read here: their shell is bash, and the starter of commands forks."""


class FailedError(AssertionError):
    """A block did not do what the page says."""


@dataclass
class Reader:
    """What a page's blocks run in.

    Attributes:
        directory: Where they run.
        environment: With which variables.
    """

    directory: Path
    environment: dict[str, str]
    blocks: list[Block]
    _shell: Shell | None = None
    _session: Session | None = None

    async def run(self) -> list[str]:
        """Run all blocks in order; return what failed, until there is no going on."""
        failures = []
        try:
            for block in self.blocks:
                if block.title:
                    (self.directory / block.title).write_text(block.code, encoding="utf-8")
                if block.not_run or not all(map(is_there, block.needs)):
                    continue
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self._run(block)
                except FailedError as error:
                    failures.append(f"{block.page}:{block.line}\n{error}")
                    break
                except TimeoutError:
                    failures.append(f"{block.page}:{block.line}\ntook more than {PATIENCE:g} s")
                    break
        finally:
            for process in (self._shell, self._session):
                if process is not None:
                    await process.close()
        return failures

    async def _run(self, block: Block) -> None:
        match block.language:
            case "python" if block.title:
                await self._program(block)
            case "python":
                if self._session is None:
                    self._session = await Session.start(self)
                await self._session.run(block)
            case "sh":
                await (await self._terminal()).run(block.code)
            case "console":
                await self._console(block)
            case "json" | "toml" | "yaml":
                _parse(block)

    async def _terminal(self) -> Shell:
        if self._shell is None:
            self._shell = await Shell.start(self)
        return self._shell

    async def _program(self, block: Block) -> None:
        others = (each for each in self.blocks if each.language in ("sh", "console"))
        name = block.title
        named = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
        if name == "conftest.py" or any(named.search(each.code) for each in others):
            compile(block.code, name, "exec")
            return
        how = "pytest -q" if Path(name).name.startswith("test_") else "python"
        await (await self._terminal()).run(f"{how} {shlex.quote(name)}\n")

    async def _console(self, block: Block) -> None:
        shell = await self._terminal()
        for command, expected in commands_of(block.code):
            # What a failing command prints is worth showing, too.
            printed = await shell.run(command, must_succeed=not expected)
            printed = _OF_A_BUSY_MACHINE.sub("", printed)
            if expected and not matches(expected, printed):
                raise FailedError(f"$ {command}printed\n{printed}\nand not\n{expected}")


def is_there(name: str) -> bool:
    """Return whether there is a program of this name, or, with a dot in it, a module."""
    if "." not in name:
        return shutil.which(name) is not None
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def commands_of(code: str) -> list[tuple[str, str]]:
    """Return the commands of a `console` block, each with what it has to print."""
    found: list[tuple[str, str]] = []
    goes_on = False
    for line in code.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif not found:
            raise FailedError("a block of the console begins with `$ `")
        elif goes_on:
            found[-1] = (found[-1][0] + line.removeprefix("> "), "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
            continue
        goes_on = line.rstrip("\n").endswith("\\")
    return [(command, printed.strip("\n")) for command, printed in found]


_SPEECH = re.compile(r"[,.!?](?=[\s\"']|$)", re.MULTILINE)


def matches(expected: str, printed: str) -> bool:
    """Return whether a text is as expected, where `...` stands for anything.

    Capitals and punctuation do not count, because a recogniser hears them now so, now otherwise. A
    line of the page that begins with one blank continues the line before it.
    """
    expected = re.sub(r"\n (?=\S)", " ", expected)
    expected = expected.replace("...", "…").lower()
    expected, printed = _SPEECH.sub("", expected), _SPEECH.sub("", printed.lower())
    lines = []
    for line in expected.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:[^\n]*\n)*?")
        else:
            parts = line.rstrip().split("…")
            lines.append(".*".join(map(re.escape, parts)) + r"[ ]*\n")
    text = printed.strip("\n").replace("\r", "") + "\n"
    return re.fullmatch("".join(lines), text) is not None


def _parse(block: Block) -> None:
    try:
        match block.language:
            case "json":
                parsed = json.loads(block.code)
            case "toml":
                parsed = tomllib.loads(block.code)
            case _:
                parsed = yaml.safe_load(block.code)
    except (ValueError, yaml.YAMLError) as error:
        raise FailedError(str(error)) from None
    if block.language == "json" and isinstance(parsed, dict) and "Statement" in parsed:
        wrong = wrong_actions(parsed)
        if wrong:
            raise FailedError(f"no such actions: {', '.join(wrong)}")


class _Process:
    """A process that takes blocks on standard input and answers each with a line."""

    def __init__(self, reader: Reader, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._output = reader.directory.parent / f"output-{process.pid}"

    @classmethod
    async def _start(cls, reader: Reader, *command: str):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=reader.directory,
            env=reader.environment,
            start_new_session=True,
        )
        return cls(reader, process)

    async def _ask(self, line: str) -> str:
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode())
            await self._process.stdin.drain()
        return (await self._process.stdout.readline()).decode()

    def _printed(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self._output.read_text(encoding="utf-8", errors="replace")
        return ""

    async def close(self) -> None:
        """End the process, and those that it has started."""
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


class Shell(_Process):
    """One bash for all blocks of a page."""

    @classmethod
    async def start(cls, reader: Reader) -> Shell:
        """Start it."""
        return await cls._start(reader, "bash", "--norc", "--noprofile")

    async def run(self, code: str, *, must_succeed: bool = True) -> str:
        """Run lines; return what they print.

        Raises:
            FailedError: A line fails, or something in it prints a traceback.
        """
        script = self._output.with_suffix(".sh")
        script.write_text(code, encoding="utf-8")
        files = f"{shlex.quote(str(script))} >{shlex.quote(str(self._output))} 2>&1 </dev/null"
        on, off = ("set -eo pipefail; ", "; set +e") if must_succeed else ("", "")
        answer = await self._ask(f"{on}source {files}{off}; echo done\n")
        printed = self._printed()
        if answer != "done\n" or "Traceback (most recent call last)" in printed:
            raise FailedError(f"{code}\n{printed}")
        return printed


class Session(_Process):
    """One Python session for all blocks of a page."""

    @classmethod
    async def start(cls, reader: Reader) -> Session:
        """Start it."""
        return await cls._start(reader, "python", str(SESSION))

    async def run(self, block: Block) -> None:
        """Go on with a block.

        Raises:
            FailedError: It raises something, or the session ends.
        """
        told = {
            "code": block.code,
            "page": str(block.page),
            "line": block.line,
            "output": str(self._output),
        }
        answer = await self._ask(json.dumps(told) + "\n")
        if answer != "\n":
            failure = json.loads(answer) if answer else "the session has ended"
            raise FailedError(f"{self._printed()}\n{failure}")


def _write_commands(directory: Path) -> None:
    directory.mkdir()
    for name, does in _WRAPPERS.items():
        file = directory / name
        file.write_text(f"#!/bin/bash\n{does}\n")
        file.chmod(0o755)
    for name in ("python3", "pip3"):
        (directory / name).symlink_to(name.removesuffix("3"))


@contextlib.asynccontextmanager
async def commands(directory: Path):
    """Give the commands that pages use: yields the variables with which a shell finds them."""
    _write_commands(directory)
    path = [str(directory), str(Path(sys.executable).parent), os.environ["PATH"]]
    # A path in the test's own directory would be too long for a socket on some systems.
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder, "starter"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(COMMANDS / "starter.py"), address),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                assert await process.stdout.readline() == b"ready\n"
            yield {"PATH": os.pathsep.join(path), "PAGES_STARTER": address}
        finally:
            process.kill()
            await process.wait()


def read(
    page: Path, directory: Path, environment: dict[str, str], gateway: str = GATEWAY
) -> Reader:
    """Return a reader of a page, in a directory of that page's own.

    Args:
        page: The page.
        directory: Where its blocks run.
        environment: With which variables.
        gateway: The address of a gateway that runs, instead of the one that pages name.
    """
    blocks = [replace(each, code=each.code.replace(GATEWAY, gateway)) for each in blocks_of(page)]
    return Reader(directory, environment, blocks)
