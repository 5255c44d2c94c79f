"""Makes the pictures of the command line in docs/pictures: `make pictures`.

Each picture is a real run, against the local endpoint, in a pseudo-terminal of 100 columns. A
terminal emulator keeps the screen, and rich draws it as an SVG.

Names that belong to one run or one machine are replaced: ports, temporary paths, request ids, the
platform (`FIXED` has them all). Secret keys are masked. Everything else, every figure included, is
as the run printed it. `make pictures` runs release code.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self

import pyte
from deepgram_sagemaker.load.plots import plots, standalone
from deepgram_sagemaker.local.speech.sample import two_cities
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

if sys.platform != "win32":
    import fcntl
    import pty
    import signal
    import termios

# What AWS would say beside the endpoint, from the tests of `doctor`.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from cli.control_plane import ARN, control_plane

COLUMNS: Final = 100
# More than any picture has, so that nothing is scrolled away.
ROWS: Final = 200
WITHIN: Final = 120.0
"""Seconds that a command may take."""

# The picture has a ground of its own, on which it can be read whether the page is light or dark.
THEME: Final = TerminalTheme(
    (24, 28, 36),
    (214, 219, 229),
    [
        (24, 28, 36),
        (240, 113, 120),
        (149, 209, 123),
        (236, 196, 111),
        (107, 173, 255),
        (204, 153, 255),
        (94, 208, 214),
        (214, 219, 229),
    ],
    [
        (140, 150, 168),
        (255, 139, 146),
        (175, 229, 152),
        (255, 216, 140),
        (140, 193, 255),
        (221, 182, 255),
        (130, 228, 233),
        (255, 255, 255),
    ],
)

# rich's own template loads a font from the network.
TEMPLATE: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, "SF Mono", Menlo, Consolas, \
"DejaVu Sans Mono", "Liberation Mono", monospace }}
{styles}
</style>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True)
class Cell:
    """One character of a screen, and its style."""

    text: str
    style: Style


type Line = list[Cell]


class Terminal:
    """A command that runs in a terminal of its own, and what is on its screen.

    Args:
        typed: The arguments of `deepgram-sagemaker`.
        variables: Environment variables, besides a clean environment.
        cwd: The folder that it runs in.
    """

    def __init__(self, typed: Sequence[str], variables: Mapping[str, str], cwd: Path) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deepgram_sagemaker", *typed],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=_clean() | variables,
            cwd=cwd,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=[ours])
        self._reader.start()

    def _read(self, terminal: int) -> None:
        # Linux reports the end of the last writer as an error.
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 1 << 16):
                with self._lock:
                    # The emulator knows no faint text. Bright black is how most terminals show it.
                    self._stream.feed(re.sub(rb"\x1b\[2m", b"\x1b[90m", data))
        os.close(terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without the spaces at their ends."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def saw(self, pattern: str) -> None:
        """Wait until a line matches."""
        deadline = time.monotonic() + WITHIN
        while not any(re.search(pattern, line) for line in self.lines):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self._give_up(f"{pattern!r} did not appear")
            time.sleep(0.05)

    def _give_up(self, why: str) -> NoReturn:
        sys.exit("\n".join([f"{why}:", *filter(None, self.lines)]))

    def ended(self, status: int, *, interrupt: bool = False) -> list[Line]:
        """Return the screen when the command has ended, with that exit status."""
        if interrupt:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(WITHIN)
        self._reader.join()
        if self._process.returncode != status:
            sys.exit(
                f"exit status {self._process.returncode}:\n" + "\n".join(filter(None, self.lines))
            )
        rows = [_cells(self._screen, number) for number in range(ROWS)]
        while rows and not rows[-1]:
            rows.pop()
        return rows


def _clean() -> dict[str, str]:
    """Return an environment without what changes how the command looks or what it reaches."""
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _cells(screen: pyte.Screen, number: int) -> Line:
    row = screen.buffer[number]
    cells = [Cell(row[column].data, _style(row[column])) for column in range(COLUMNS)]
    while cells and not cells[-1].text.strip():
        cells.pop()
    return cells


def _style(char: pyte.screens.Char) -> Style:
    return Style(
        color=_colour(char.fg),
        bgcolor=_colour(char.bg),
        bold=char.bold,
        italic=char.italics,
        underline=char.underscore,
        reverse=char.reverse,
    )


def _colour(name: str) -> str | None:
    """Return the emulator's colour by rich's name."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    name = name.replace("brown", "yellow")
    return name.replace("bright", "bright_") if name.startswith("bright") else name


# What is replaced within one line, by picture: the first group of each pattern.
_ADDRESS: Final = (r"127\.0\.0\.1:(\d+)", "8443")
_AUTHORITY: Final = (r"/deepgram-sagemaker-([a-z0-9_]{8})/", "k3v9x2pd")
FIXED: Final = {
    "demo": (_ADDRESS,),
    "local": (
        _ADDRESS,
        _AUTHORITY,
        (r"Secret key +(\S+)", "********"),
        (r"AWS_SECRET_ACCESS_KEY=(\S+)", "********"),
    ),
    "transcribe": (),
    "load": (),
    "doctor": (
        _ADDRESS,
        _AUTHORITY,
        (r"((?:Linux|macOS)-\S+)$", "Linux-6.12-x86_64-with-glibc2.36"),
        # The request's id.
        (r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", "6b1f0c52-3d8e-4f57-9a6d-2c40b7e81f93"),
    ),
}


def fixed(name: str, line: Line) -> Line:
    """Return a line of a picture with what belongs to one run or machine replaced."""
    for pattern, replacement in FIXED[name]:
        found = re.search(pattern, "".join(cell.text for cell in line))
        if found is not None:
            line = _replaced(line, *found.span(1), replacement)
    return line


def _replaced(line: Line, begin: int, end: int, text: str) -> Line:
    """Put text in the place of cells, and leave the border of a box where it is."""
    cells = [Cell(letter, line[begin].style) for letter in text]
    rest = line[end:]
    surplus = len(cells) - (end - begin)
    if rest and rest[-1].text == "│":
        space = rest[-2]
        if surplus <= 0:
            rest[-1:-1] = [space] * -surplus
        else:
            if "".join(cell.text for cell in rest[-1 - surplus : -1]).strip():
                sys.exit(f"no space for {text!r}")
            del rest[-1 - surplus : -1]
    return [*line[:begin], *cells, *rest]


def drawn(name: str, typed: Sequence[str], screen: Sequence[Line]) -> str:
    """Return an SVG of a command as it was typed, with the screen that it left."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    command = f"deepgram-sagemaker {shlex.join(typed)}"
    console.print(Text.assemble(("$ ", "bright_black"), (command, "bold")))
    for line in screen:
        runs = itertools.groupby(fixed(name, line), key=lambda cell: cell.style)
        pieces = (("".join(cell.text for cell in cells), style) for style, cells in runs)
        console.print(Text.assemble(*pieces), soft_wrap=True)
    svg = console.export_svg(title="", theme=THEME, code_format=TEMPLATE, unique_id=name)
    return _smaller(svg)


def _smaller(svg: str) -> str:
    # Every text has its length, so nothing needs to be clipped.
    svg = re.sub(r' clip-path="[^"]*"', "", svg)
    svg = re.sub(r"<text [^>]*>(\s|&#160;)*</text>", "", svg)
    svg = re.sub(r'textLength="([\d.]+)">([^<]*?)((?:&#160;)+)</text>', _without_spaces, svg)
    # The lines of boxes have no gaps, however wide and high the font's characters are.
    svg = re.sub(r'(textLength="[^"]*">[─╭╮╰╯]+<)', r'lengthAdjust="spacingAndGlyphs" \1', svg)
    svg = re.sub(r'<text( class="[^"]*") x="([^"]*)" y="([^"]*)"[^>]*>│</text>', _bar, svg)
    # Many decimals come of sums of floating-point numbers.
    svg = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)
    return re.sub(r"\n\s*", "\n", svg)


def _without_spaces(found: re.Match[str]) -> str:
    """Return the end of a text without the spaces at its end."""
    # A character is 12.2 wide.
    length = float(found[1]) - 12.2 * found[3].count("&#160;")
    return f'textLength="{length:g}">{found[2]}</text>'


def _bar(found: re.Match[str]) -> str:
    """Return a line through the middle of a character's cell, a bit higher than the cell."""
    left, baseline = float(found[2]), float(found[3])
    return f'<rect{found[1]} x="{left + 5.3:.2f}" y="{baseline - 23:.2f}" width="1.6" height="30"/>'


_ENDPOINT: Final = "my-deepgram-endpoint"
ACTION: Final = "sagemaker:InvokeEndpointWithBidirectionalStream"


@dataclass(frozen=True)
class Studio:
    """Where pictures are made.

    Attributes:
        folder: Where they are written.
        hurry: Whether less audio is streamed, and faster, than by the command as it is shown.
    """

    folder: Path
    hurry: bool

    def draw(self, name: str, typed: Sequence[str], screen: Sequence[Line]) -> None:
        path = self.folder / f"{name}.svg"
        path.write_text(drawn(name, typed, screen), encoding="utf-8")
        print(f"{path}: {path.stat().st_size:,} bytes")

    def demo(self) -> None:
        """The demo, from its start to its summary."""
        with Terminal(["demo", *self._pace()], {}, self.folder) as terminal:
            self.draw("demo", ["demo"], terminal.ended(0))

    def local(self) -> None:
        """The local endpoint, and a transcription that a reset of the endpoint's does not harm."""
        recording = "speech.wav"
        serve = ["local", "--endpoint-name", _ENDPOINT, "--fault", "reset after-audio=8"]
        ask = ["transcribe", recording, "-e", _ENDPOINT]
        with tempfile.TemporaryDirectory() as folder, self._serving(serve) as (local, variables):
            _record(Path(folder, recording), seconds=10 if self.hurry else 20)
            with Terminal([*ask, *self._pace()], variables, Path(folder)) as terminal:
                transcript = terminal.ended(0)
            local.saw("leg 2: ended in order")
            told = local.ended(0, interrupt=True)
        self.draw("local", serve, told)
        self.draw("transcribe", ask, transcript)

    def doctor(self) -> None:
        """An endpoint that the caller may not invoke."""
        denied = f"User: {ARN} is not authorized to perform: {ACTION}"
        fault = f"answer status=403 error-type=AccessDeniedException message='{denied}'"
        serve = ["local", "--model", "watermark", "--endpoint-name", _ENDPOINT, "--fault", fault]
        ask = ["doctor", _ENDPOINT]
        with self._serving(serve) as (local, variables), control_plane() as aws:
            aws.endpoints = {("us-east-1", _ENDPOINT): "InService"}
            variables |= {"AWS_ENDPOINT_URL_STS": aws.uri, "AWS_ENDPOINT_URL_SAGEMAKER": aws.uri}
            with Terminal(ask, variables, self.folder) as terminal:
                found = terminal.ended(1)
            local.ended(0, interrupt=True)
        self.draw("doctor", ask, found)

    def load(self) -> None:
        """A load test that finds how many streams an endpoint holds, and a plot of its report."""
        serve = ["local", "--model", "watermark", "--endpoint-name", _ENDPOINT]
        ask = ["load", _ENDPOINT, "--streams", "200", "--step", "25", "--ramp", "48"]
        hurry = ["--ramp", "16", "--lag-limit", "20"] if self.hurry else []
        with (
            tempfile.TemporaryDirectory() as folder,
            self._serving([*serve, "--max-streams", "150"]) as (local, variables),
        ):
            written = ["--watermark", "-o", "report.html"]
            more = ["-o", "report.json"]
            with Terminal([*ask, *written, *more, *hurry], variables, Path(folder)) as terminal:
                found = terminal.ended(1)
            report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
            local.ended(0, interrupt=True)
        # The second report is for the plot.
        found = [line for line in found if "report.json" not in "".join(c.text for c in line)]
        self.draw("load", [*ask, *written], found)
        plot = next(each for each in plots(report) if each.name == "delays")
        path = self.folder / "load-delays.svg"
        path.write_text(f"{standalone(plot)}\n", encoding="utf-8")
        print(f"{path}: {path.stat().st_size:,} bytes")

    def _pace(self) -> list[str]:
        return ["--speed", "4"] if self.hurry else []

    @contextlib.contextmanager
    def _serving(self, serve: Sequence[str]) -> Iterator[tuple[Terminal, dict[str, str]]]:
        """Run a local endpoint; yield also the variables that it asks to export."""
        with Terminal([*serve, "--port", "0"], {}, self.folder) as local:
            local.saw("^client = ")
            exports = (re.fullmatch("export (AWS_[A-Z0-9_]+)=(.*)", line) for line in local.lines)
            yield local, {found[1]: found[2] for found in exports if found}


def _record(path: Path, *, seconds: int) -> None:
    """Write the beginning of the speech that comes with the recogniser."""
    with wave.open(str(two_cities())) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(seconds * source.getframerate()))


def main() -> None:
    runs = {
        "demo": Studio.demo,
        "local": Studio.local,
        "doctor": Studio.doctor,
        "load": Studio.load,
    }
    arguments = argparse.ArgumentParser(description="Make pictures of the command line.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--hurry", action="store_true", help="stream less audio, and faster")
    arguments.add_argument("--only", choices=runs, action="append", help="one of them")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or runs:
        runs[name](Studio(given.folder, given.hurry))


if __name__ == "__main__":
    main()
