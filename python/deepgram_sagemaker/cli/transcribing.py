"""Transcribes recordings, several at a time, and says how each went."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepgram_sagemaker.conversations.caller import Caller
from deepgram_sagemaker.conversations.figures import Figures
from deepgram_sagemaker.conversations.reasons import reason_of

from .captions import Captions, heading, loss, stream_counts, summary
from .destinations import STANDARD_INPUT, save
from .manners import Console, has_enough, say_failed
from .progress import Bars
from .transcripts import Format, conclusion, failure, record, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.conversations.caller import Watcher
    from deepgram_sagemaker.conversations.figures import Final
    from deepgram_sagemaker.conversations.query import Query
    from deepgram_sagemaker.conversations.recording import Recording

__all__ = ["Job", "transcribe_all"]


@dataclass(slots=True)
class Job:
    """One recording to transcribe.

    Attributes:
        name: The file as it was typed.
        opened: Opens the recording.
        targets: Where each form of the transcript goes; None: standard output.
        figures: What came of it so far.
        error: Why it failed; None: it did not.
        over: Whether it has ended.
        printed: Whether its text has been printed.
    """

    name: str
    opened: Callable[[], Recording]
    targets: Mapping[Format, Path | None]
    figures: Figures = field(default_factory=Figures)
    error: str | None = None
    over: bool = False
    printed: bool = False

    @property
    def shown(self) -> str:
        """What to call it."""
        return "standard input" if self.name == STANDARD_INPUT else self.name


async def transcribe_all(
    config: SageMakerConfig,
    jobs_to_do: Sequence[Job],
    query: Query,
    *,
    speed: float,
    flux: bool,
    jobs: int,
) -> bool:
    """Transcribe recordings; return whether each was transcribed without loss.

    Args:
        config: The endpoint.
        jobs_to_do: The recordings, one or more.
        query: Deepgram's parameters, `model` included.
        speed: Speed of each stream, in times real time.
        flux: Whether to use `v2/listen`.
        jobs: The most recordings at the same time.
    """
    work = _Work(Caller(config), query, speed, flux=flux)
    if len(jobs_to_do) == 1:
        await work.one(jobs_to_do[0], config)
    else:
        await work.several(jobs_to_do, jobs)
    return all(job.error is None for job in jobs_to_do)


class _Work:
    def __init__(self, caller: Caller, query: Query, speed: float, *, flux: bool) -> None:
        self._caller = caller
        self._query = query
        self._speed = speed
        self._flux = flux
        # Transcripts go to standard output, so what is said about them does not.
        self._console = Console(stderr=True)

    async def one(self, job: Job, config: SageMakerConfig) -> None:
        """Transcribe a single recording, with captions where text goes to standard output."""
        captions = Format.TEXT in job.targets and job.targets[Format.TEXT] is None
        recording = self._open(job)
        if recording is None:
            self._conclude(job)
            return
        heading(
            self._console,
            "Transcribing",
            [
                ("Recording", recording.description),
                ("Endpoint", f"{config.endpoint_name} in {config.region}"),
                ("Model", str(self._query["model"])),
            ],
        )
        if captions:
            channels = self._query.get("multichannel") == "true"
            with Captions(Console(), channels=channels) as watcher:
                await self._stream(job, recording, watcher)
        else:
            with Bars(self._console, wanted=not _fills_terminal([job])) as bars:
                bar = bars.bar(job.shown, recording.seconds)
                await self._stream(job, recording, _watcher(job, bar))
        if job.figures.chunks_sent:
            summary(self._console, job.figures, errors=None, good=job.error is None)
        self._conclude(job, shown=captions)

    async def several(self, jobs_to_do: Sequence[Job], jobs: int) -> None:
        """Transcribe recordings at the same time. Texts appear in the order of the recordings."""
        waiting = asyncio.Semaphore(jobs)

        with Bars(self._console, wanted=not _fills_terminal(jobs_to_do)) as bars:

            async def work(job: Job) -> None:
                async with waiting:
                    recording = self._open(job)
                    if recording is not None:
                        bar = bars.bar(job.shown, recording.seconds)
                        await self._stream(job, recording, _watcher(job, bar))
                        bar.over()
                self._conclude(job, shown=True)
                if job.error is None:
                    self._say(f"{job.shown}: {_in_a_line(job.figures)}")
                if not bars.are_shown:
                    _show_texts(jobs_to_do)

            tasks = [asyncio.create_task(work(job)) for job in jobs_to_do]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        _show_texts(jobs_to_do)
        failed = sum(job.error is not None for job in jobs_to_do)
        self._say(f"{len(jobs_to_do)} recordings: {len(jobs_to_do) - failed} done, {failed} failed")

    def _open(self, job: Job) -> Recording | None:
        try:
            return job.opened()
        except (OSError, ValueError) as error:
            job.error = reason_of(error)
            return None

    async def _stream(self, job: Job, recording: Recording, watcher: Watcher) -> None:
        try:
            await self._caller.converse(
                recording,
                self._query,
                watcher,
                speed=self._speed,
                flux=self._flux,
                figures=job.figures,
            )
        except asyncio.CancelledError:
            # What came until now is of use after Ctrl-C, too.
            job.error = "interrupted"
            self._save(job)
            raise
        except Exception as error:
            if has_enough(error):
                raise
            # The other recordings go on.
            job.error = reason_of(error)
        else:
            if job.figures.lost or job.figures.repeated:
                job.error = f"not all of the audio was told exactly once: {loss(job.figures)}"

    def _conclude(self, job: Job, *, shown: bool = False) -> None:
        """Write the transcript and say whether it failed.

        Args:
            job: The job, which has ended.
            shown: Whether text for standard output is shown elsewhere.
        """
        self._save(job)
        for form, path in job.targets.items():
            if path is not None or (form is Format.TEXT and shown):
                continue
            if form is Format.JSON:
                last = (
                    conclusion(job.name, job.figures)
                    if job.error is None
                    else failure(job.name, job.error)
                )
                _print(f"{last}\n")
            elif job.figures.finals:
                _print(written(form, job.name, job.figures))
        job.over = True
        if job.error is not None:
            kept = [str(path) for path in job.targets.values() if path is not None]
            until = f"; {', '.join(kept)} has what came until then" if job.figures.finals else ""
            say_failed(f"{job.shown}: {job.error}{until if kept else ''}", self._console)

    def _save(self, job: Job) -> None:
        for form, path in job.targets.items():
            if path is None or (job.error is not None and not job.figures.finals):
                continue
            try:
                save(path, written(form, job.name, job.figures, job.error))
            except OSError as error:
                job.error = job.error or reason_of(error)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


class _Lines:
    """Writes results to standard output as they arrive, and passes them on."""

    def __init__(self, name: str, watcher: Watcher) -> None:
        self._name = name
        self._watcher = watcher

    def interim(self, start: float, end: float, transcript: str) -> None:
        self._watcher.interim(start, end, transcript)

    def final(self, final: Final) -> None:
        _print(f"{record(self._name, final)}\n")
        self._watcher.final(final)


def _watcher(job: Job, watcher: Watcher) -> Watcher:
    to_stdout = Format.JSON in job.targets and job.targets[Format.JSON] is None
    return _Lines(job.name, watcher) if to_stdout else watcher


def _fills_terminal(jobs_to_do: Sequence[Job]) -> bool:
    """Return whether lines appear on a terminal while recordings are streamed."""
    streamed = any(job.targets.get(Format.JSON, job) is None for job in jobs_to_do)
    return streamed and sys.stdout.isatty()


def _print(text: str) -> None:
    """Write to standard output in UTF-8, whatever the terminal takes: programs read it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def _in_a_line(figures: Figures) -> str:
    streams = "" if figures.streams is None else f", streams {stream_counts(figures.streams)}"
    return f"{figures.audio_sent:.2f} s, {figures.words} words{streams}"


def _show_texts(jobs_to_do: Sequence[Job]) -> None:
    """Show the texts that come next in order, once each."""
    for job in jobs_to_do:
        if not job.over:
            return
        if not job.printed and Format.TEXT in job.targets and job.targets[Format.TEXT] is None:
            text = written(Format.TEXT, job.name, job.figures)
            if text:
                sys.stdout.write(f"{job.shown}:\n{text}\n")
                sys.stdout.flush()
            job.printed = True
