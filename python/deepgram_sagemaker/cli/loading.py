"""Runs a load test for a person: says what it will do, how it goes, and what it found."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from rich.table import Table
from rich.text import Text

from deepgram_sagemaker.conversations.reasons import reason_of
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.load.audio import PERIOD
from deepgram_sagemaker.load.conductor import Conductor
from deepgram_sagemaker.load.report import report
from deepgram_sagemaker.load.verdict import Conclusion, Outcome
from deepgram_sagemaker.load.workers import Here, WorkerLostError

from .captions import heading
from .destinations import save
from .last_line import LastLine
from .manners import FAILED, INTERRUPTED, Console, say_failed
from .signals import on_signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deepgram_sagemaker.load.conductor import Course
    from deepgram_sagemaker.load.plan import Plan
    from deepgram_sagemaker.load.spec import Spec
    from deepgram_sagemaker.load.step import Step
    from deepgram_sagemaker.load.tally import Tally
    from deepgram_sagemaker.load.verdict import Judged, Limits
    from deepgram_sagemaker.load.workers import Crew

__all__ = ["WritingError", "check_outputs", "crew_of", "run_test", "table"]

_SUFFIXES: Final = (".json", ".html")
# The signals that end a test in order, and the exit status after each, as shells have it.
_STOPPED: Final = {"SIGINT": INTERRUPTED, "SIGTERM": 143}


class WritingError(ValueError):
    """A report cannot be written as it was asked for."""


def check_outputs(paths: Sequence[Path]) -> None:
    """Check that reports can be written, before anything is streamed.

    Raises:
        WritingError: One has another suffix, no folder, or no extra that makes it.
    """
    for path in paths:
        if path.suffix.lower() not in _SUFFIXES:
            raise WritingError(f"{path}: a report is .json or .html")
        if not path.absolute().parent.is_dir():
            raise WritingError(f"{path.absolute().parent} is not a folder")
        if path.suffix.lower() == ".html":
            try:
                import deepgram_sagemaker.load.page  # noqa: F401 - it is needed at the end
            except ImportError:
                raise WritingError(
                    "the page needs matplotlib: pip install 'deepgram-sagemaker[load]'"
                ) from None


def crew_of(workers: str, spec: Spec) -> tuple[Crew, str]:
    """Return what holds the streams, and what to call it.

    Args:
        workers: `1`, a number of processes, `ray`, or `ray:` and a number of actors.
        spec: What the streams are.

    Raises:
        ValueError: It is none of these, or its extra is not installed.
    """
    kind, _, number = workers.partition(":")
    if kind == "ray" and (not number or _is_count(number)) and workers != "ray:":
        try:
            from deepgram_sagemaker.load.on_ray import OnRay
        except ImportError:
            raise ValueError("Ray is needed: pip install 'deepgram-sagemaker[ray]'") from None
        count = int(number) if number else None
        return OnRay(spec, count), f"{count or 'one for each processor'} on Ray"
    if not _is_count(workers):
        raise ValueError(f"{workers}: must be a number, `ray` or `ray:` and a number")
    if int(workers) == 1:
        return Here(spec), "this process"
    from deepgram_sagemaker.load.processes import Processes

    return Processes(spec, int(workers)), f"{workers} processes"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0


async def run_test(
    plan: Plan,
    spec: Spec,
    limits: Limits,
    crew: Crew,
    *,
    workers: str,
    outputs: Sequence[Path],
    as_json: bool,
) -> int:
    """Run a test, show what it found, and return the exit status.

    Args:
        plan: How many streams there are to be, and when.
        spec: The endpoint and the audio.
        limits: What a step may not exceed.
        crew: What holds the streams.
        workers: What to call it.
        outputs: Where the report is written.
        as_json: Whether it is printed as JSON, and not as a table.
    """
    console = Console(stderr=True)
    _announce(console, plan, spec, workers)
    started = datetime.now(UTC)
    with _Progress(console, plan) as progress:
        conductor = Conductor(plan, limits, crew, progress)

        came: list[str] = []

        def stop(name: str) -> None:
            # A second one ends it at once.
            signals.close()
            came.append(name)
            conductor.stop()

        with ExitStack() as signals:
            for name in _STOPPED:
                signals.enter_context(on_signal(name, partial(stop, name)))
            course = await _run(conductor, plan)
    found = report(course, plan, spec, limits, workers=workers, started=started)
    # First: whoever reads standard output may have enough of it.
    written = _write(console, outputs, found)
    if as_json:
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()
    else:
        _show(Console(), found)
    if came:
        return _STOPPED[came[0]]
    return 0 if written and found["verdict"]["holds"] else FAILED


async def _run(conductor: Conductor, plan: Plan) -> Course:
    """Run a test; one that cannot begin, or has no worker left, has a report too."""
    try:
        return await conductor.run()
    except (SageMakerError, WorkerLostError) as error:
        course = conductor.course
        course.conclusion = Conclusion(
            plan.streams, 0, False, Outcome.FAILED, f"cannot be tested: {reason_of(error)}"
        )
        return course


def _announce(console: Console, plan: Plan, spec: Spec, workers: str) -> None:
    """Say what will run, and what it will cost."""
    search = ", and what --find needs" if plan.find else ""
    count = len(plan.levels)
    steps = "one step of" if count == 1 else f"{count} steps, each of"
    steps += f" {plan.step_seconds} s"
    stay = f", then {plan.duration:g} s with all of them" if plan.duration else ""
    replaced = f", each replaced after {spec.stream_duration:g} s" if spec.stream_duration else ""
    heading(
        console,
        "Load test",
        [
            ("Endpoint", f"{spec.endpoint_name} in {spec.region}"),
            ("Model", f"{spec.query['model']}, {'v2/listen' if spec.flux else 'v1/listen'}"),
            (
                "Audio",
                ", ".join(
                    f"{each.name}, {each.seconds:.0f} s, {each.encoding}, "
                    f"{each.sample_rate / 1000:g} kHz"
                    for each in spec.pieces
                ),
            ),
            (
                "Streams",
                f"up to {plan.streams}{replaced}: {steps}{stay}",
            ),
            ("Workers", workers),
            (
                "Cost",
                f"{plan.stream_seconds / 60:,.1f} minutes of audio if every step holds{search}",
            ),
            ("To stop", "Ctrl-C: the streams end in order, and the report is written"),
        ],
    )


def _write(console: Console, outputs: Sequence[Path], found: Mapping[str, Any]) -> bool:
    """Write the reports, and return whether all were written."""
    done = True
    for path in outputs:
        try:
            if path.suffix.lower() == ".html":
                from deepgram_sagemaker.load.page import page

                save(path, page(found))
            else:
                save(path, f"{json.dumps(found, indent=1)}\n")
        except OSError as error:
            say_failed(f"{path}: {error.strerror or error}", console)
            done = False
        else:
            _say(console, f"Report: {path}")
    return done


class _Progress(LastLine):
    """Shows how a test goes: a line that changes on a terminal, and a line for each step."""

    def __init__(self, console: Console, plan: Plan) -> None:
        super().__init__(console, redirect=False)
        self._console = console
        self._plan = plan
        self._failures = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self._tell("opening one stream …")
        return self

    def began(self, step: Step) -> None:
        self._tell(f"{step.streams} streams are opened …")

    def second(self, step: Step, number: int, tally: Tally) -> None:
        self._failures += sum(tally.failed.values()) + sum(tally.refused.values())
        self._failures += sum(tally.unreachable.values())
        lag = tally.lag.quantile(0.95)
        said = "no results" if lag is None else f"lag p95 {lag:.2f} s"
        late = f", {tally.late} chunks late" if tally.late else ""
        self._tell(
            f"{number + 1} s of {self._plan.seconds} s: {tally.live} of {step.streams} streams, "
            f"{said}, {self._failures} refused or failed{late}"
        )

    def ended(self, judged: Judged) -> None:
        lag, count = judged.settled.lag.quantile(0.95), judged.step.streams
        line = f"{count} stream{'' if count == 1 else 's'}, {judged.step.seconds} s: "
        line += judged.reason
        # A reason that is about results has it.
        if lag is not None and "p95" not in judged.reason:
            line += f"; lag p95 {lag:.2f} s"
        _say(self._console, line)

    def closing(self) -> None:
        self._tell("closing the streams …")

    def _tell(self, text: str) -> None:
        self.show(Text(text, style="cyan"))


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


_WIDTH: Final = 110
_NARROWEST: Final = 80
_COLUMNS: Final = (
    "Streams",
    "Open",
    "To\nopen",
    "First\nresult",
    "Lag\np50",
    "Lag\np95",
    "Lag\np99",
    "Re-\nfused",
    "Failed",
    "Resets",
    "Lost",
    "Outcome",
)


def table(found: Mapping[str, Any]) -> Table:
    """Return the steps of a report as a table."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        made.add_column(name, justify="left" if name == "Outcome" else "right", vertical="bottom")
    for step in found["steps"]:
        held = step["outcome"] == Outcome.HELD.value
        # What a session knows to be lost, and what was counted, may be the same.
        lost = max(step["seconds_lost"], PERIOD * step["chunks_missing"])
        made.add_row(
            f"{step['streams']}",
            f"{step['live']}",
            _seconds(step["opening"]["p95"]),
            _seconds(step["first_result"]["p95"]),
            *(_seconds(step["lag"][each]) for each in ("p50", "p95", "p99")),
            _count(step["refused"], step["unreachable"]),
            _count(step["failed"]),
            _count(step["resets"]),
            f"{lost:.1f} s" if lost else "0",
            Text(step["outcome"], style="green" if held else "red"),
        )
    return made


def _seconds(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def _count(*kinds: Mapping[str, int]) -> str:
    return str(sum(sum(each.values()) for each in kinds))


def _show(console: Console, found: Mapping[str, Any]) -> None:
    """Print the table, what gave way, and the verdict."""
    # No figure is cut: a narrow terminal breaks the lines.
    console.width = max(console.width, _NARROWEST if console.is_terminal else _WIDTH)
    # A terminal's own breaks are in the middle of words.
    soft = not console.is_terminal
    if found["steps"]:
        console.print()
        console.print(table(found))
        console.print()
    total = found["total"]
    for name, title in (
        ("refused", "Refused"),
        ("unreachable", "No answer"),
        ("failed", "Failed"),
        ("resets", "Resets"),
    ):
        for kind, count in total[name].items():
            words = total["examples"].get(kind)
            said = f": {words}" if words else ""
            line = f"{title}: {count} \N{MULTIPLICATION SIGN} {kind}{said}"
            console.print(Text(line), soft_wrap=soft)
    for worker in found["workers"]["lost"]:
        console.print(Text(f"Worker lost: {worker}"), soft_wrap=soft)
    busy = [step for step in found["steps"] if step["limited_by_workers"]]
    if busy:
        late = max(step["chunks_late"] / max(1, step["chunks"]) for step in busy)
        thread = max(step["busiest_thread"] for step in busy)
        console.print(
            Text(
                f"The load generator was too slow in {len(busy)} of {len(found['steps'])} steps: "
                f"up to {late:.0%} of the audio left late, and a thread used up to {thread:.0%} of "
                "a processor. Use more workers, or a machine with less to do.",
                style="bold yellow",
            ),
            soft_wrap=soft,
        )
    verdict = found["verdict"]
    console.print(
        Text(verdict["sentence"], style="bold green" if verdict["holds"] else "bold red"),
        soft_wrap=soft,
    )
