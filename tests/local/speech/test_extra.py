"""Where the speech model can be had, and what is said where it cannot."""

import asyncio
import platform
import sys

import pytest
from deepgram_sagemaker.local.speech import extra
from sessions import run_script

INSTALL = "pip install 'deepgram-sagemaker[local]'"
ELSEWHERE = "the model 'watermark' and models of your own work here"


def as_if_on(monkeypatch, system, machine, *, glibc=None, macos=""):
    monkeypatch.setattr(sys, "platform", system)
    names = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows", "freebsd14": "FreeBSD"}
    monkeypatch.setattr(platform, "system", lambda: names[system])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), ""))

    def confstr(name):
        assert name == "CS_GNU_LIBC_VERSION"
        if glibc is None:
            raise ValueError("unrecognized configuration name")
        return f"glibc {glibc}"

    monkeypatch.setattr(extra.os, "confstr", confstr, raising=False)


@pytest.mark.parametrize(
    ("system", "machine", "more"),
    [
        ("linux", "x86_64", {"glibc": "2.34"}),
        ("linux", "aarch64", {"glibc": "2.31"}),
        ("darwin", "arm64", {"macos": "15.1"}),
        ("win32", "AMD64", {}),
    ],
)
def test_where_it_has_a_wheel_the_extra_is_the_advice(monkeypatch, system, machine, more):
    as_if_on(monkeypatch, system, machine, **more)
    assert extra.advice() == INSTALL


@pytest.mark.parametrize(
    ("system", "machine", "more", "named"),
    [
        ("linux", "x86_64", {"glibc": "2.31"}, "x86_64 Linux with glibc 2.31"),
        ("linux", "aarch64", {"glibc": "2.28"}, "aarch64 Linux with glibc 2.28"),
        ("linux", "x86_64", {}, "x86_64 Linux without glibc"),
        ("linux", "riscv64", {"glibc": "2.41"}, "riscv64 Linux"),
        ("darwin", "arm64", {"macos": "14.7.1"}, "macOS 14.7.1"),
        ("darwin", "x86_64", {"macos": "15.1"}, "x86_64 Darwin"),
        ("win32", "ARM64", {}, "ARM64 Windows"),
        ("freebsd14", "amd64", {}, "amd64 FreeBSD"),
    ],
)
def test_where_it_has_none_one_line_says_so(monkeypatch, system, machine, more, named):
    as_if_on(monkeypatch, system, machine, **more)
    said = str(extra.MissingExtraError("moonshine_voice"))
    assert said == (
        f"the speech model needs moonshine_voice: moonshine-voice has no wheel for {named}; "
        f"{ELSEWHERE}"
    )
    assert INSTALL not in said


WITHOUT = """
import platform, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("moonshine_voice", "numpy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if sys.argv[1] == "elsewhere":
    platform.machine = lambda: "riscv64"
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name in ("moonshine_voice", "numpy") else find_spec(name, *rest)
)
sys.meta_path.insert(0, Missing())
sys.argv[:] = ["deepgram-sagemaker", *sys.argv[2:]]
from deepgram_sagemaker.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "command", [("local", "--model", "speech", "--port", "0"), ("demo",)], ids=["local", "demo"]
)
@pytest.mark.parametrize(("place", "advice"), [("here", INSTALL), ("elsewhere", ELSEWHERE)])
def test_the_commands_say_it_in_one_line(command, place, advice):
    run = run_script(WITHOUT, place, *command)
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    (line,) = run.stderr.strip().splitlines()
    assert line.endswith(advice)


async def test_the_endpoint_itself_needs_only_the_command_line():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT, "elsewhere"),
        *("local", "--model", "watermark", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(40):
            said = ""
            while "export AWS_SECRET_ACCESS_KEY" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, (await process.stderr.read()).decode()
                said += line
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
