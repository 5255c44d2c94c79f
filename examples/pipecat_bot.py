"""Answer a caller with a pipecat bot: Flux hears, Aura speaks, from a file into a file.

    pip install 'deepgram-sagemaker[pipecat]'
    python pipecat_bot.py --flux my-flux --aura my-aura -o answers.wav call.wav

The bot repeats each turn of the caller. In a bot of your own a language model stands where
`Answers` does, and one of pipecat's transports where the files are. The file of the answers appears
when the call is over; after a failure the file that was there before is still there.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import wave
from contextlib import closing
from pathlib import Path

from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.errors import SageMakerError

try:
    from deepgram_sagemaker.pipecat import (
        DeepgramFluxSageMakerSTTService,
        DeepgramSageMakerTTSService,
    )
    from loguru import logger
    from pipecat.frames.frames import (
        BotStoppedSpeakingFrame,
        EndFrame,
        ErrorFrame,
        Frame,
        InputAudioRawFrame,
        TranscriptionFrame,
        TTSAudioRawFrame,
        TTSSpeakFrame,
        TTSStoppedFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.workers.runner import WorkerRunner
except ImportError as error:
    sys.exit(f"failed: {error}")

SPOKEN = 24_000
"""Samples per second of the answers."""


class CallError(Exception):
    """The call could not be answered, or not to its end."""


class Answers(FrameProcessor):
    """Answers each turn of the caller."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Put an answer in the place of what was heard."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, TranscriptionFrame):
            await self.push_frame(frame, direction)
        elif frame.text.strip():
            print(f"caller: {frame.text}", flush=True)
            await self.push_frame(TTSSpeakFrame(f"You said: {frame.text}"))


class Recorder(FrameProcessor):
    """Writes what the bot speaks, one answer behind the other.

    Args:
        wav: The file, with one channel of 16-bit samples.
    """

    def __init__(self, wav: wave.Wave_write) -> None:
        super().__init__()
        self._wav = wav

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Write audio; say when an answer is complete."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._wav.writeframes(frame.audio)
        elif isinstance(frame, TTSStoppedFrame):
            # The voice waits with the next answer until this one has been played. A transport says
            # so when it has.
            await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)
        await self.push_frame(frame, direction)


def answer_file(arguments: argparse.Namespace) -> float:
    """Answer the call in a file, write the answers, and return their length in seconds."""
    path = Path(arguments.output)
    with wave.open(arguments.call, "rb") as call:
        if call.getnchannels() != 1 or call.getsampwidth() != 2:
            raise CallError(f"{arguments.call} must have one channel of 16-bit samples")
        # Beside the file, so that it can take its place in one step.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".answers-") as folder:
            unfinished = Path(folder, "answers.wav")
            with closing(wave.open(str(unfinished), "wb")) as answers:
                answers.setnchannels(1)
                answers.setsampwidth(2)
                answers.setframerate(SPOKEN)
                asyncio.run(hold(arguments, call, answers))
                frames = answers.getnframes()
            if not frames:
                raise CallError("nobody said anything")
            unfinished.replace(path)
    return frames / SPOKEN


async def hold(
    arguments: argparse.Namespace, call: wave.Wave_read, answers: wave.Wave_write
) -> None:
    """Hold the call."""
    # The endpoints may be in different regions and accounts, each with settings of its own.
    hears = DeepgramFluxSageMakerSTTService(
        config=SageMakerConfig(arguments.flux, region=arguments.region),
        # Nobody is interrupted who is not listened to: the answers go into a file.
        should_interrupt=False,
    )
    speaks = DeepgramSageMakerTTSService(
        config=SageMakerConfig(arguments.aura, region=arguments.region),
        settings=DeepgramSageMakerTTSService.Settings(voice="aura-2-thalia-en"),
    )
    worker = PipelineWorker(
        Pipeline([hears, Answers(), speaks, Recorder(answers)]),
        params=PipelineParams(
            audio_in_sample_rate=call.getframerate(), audio_out_sample_rate=SPOKEN
        ),
    )
    started = asyncio.Event()
    errors: list[str] = []

    @worker.event_handler("on_pipeline_started")
    async def on_started(_worker: PipelineWorker, _frame: Frame) -> None:
        started.set()

    # A broken stream is no error: its session goes on over another. What comes here is final.
    @worker.event_handler("on_pipeline_error")
    async def on_error(_worker: PipelineWorker, frame: ErrorFrame) -> None:
        errors.append(frame.error)
        await worker.cancel()

    async def speak() -> None:
        await started.wait()
        rate, start = call.getframerate(), time.monotonic()
        while chunk := call.readframes(rate // 50):  # 20 ms
            await worker.queue_frame(InputAudioRawFrame(chunk, rate, 1))
            # Counted from the start, so that late wake-ups do not add up.
            await asyncio.sleep(start + call.tell() / rate - time.monotonic())
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)  # asyncio handles Ctrl-C
    await runner.add_workers(worker)
    speaking = asyncio.create_task(speak())
    try:
        await runner.run()
    finally:
        speaking.cancel()
    this = asyncio.current_task()
    if this is not None and this.cancelling():
        raise asyncio.CancelledError  # by Ctrl-C, after which pipecat ends as if the call was over
    if errors:
        raise CallError(errors[0])


def main() -> int:
    """Read the command line, answer the call, and return the exit code."""
    parser = argparse.ArgumentParser(description="A bot answers the caller in a file.")
    parser.add_argument("call", metavar="FILE.wav", help="what the caller says")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.wav", help="the answers")
    parser.add_argument("--flux", required=True, metavar="ENDPOINT", help="SageMaker endpoint")
    parser.add_argument("--aura", required=True, metavar="ENDPOINT", help="SageMaker endpoint")
    parser.add_argument(
        "--region",
        default="auto",
        help="their region (default: from environment or profile)",
    )
    arguments = parser.parse_args()
    logger.remove()  # pipecat logs every step to standard error
    try:
        seconds = answer_file(arguments)
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, CallError, OSError, EOFError, wave.Error) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
