"""Show live captions of what the microphone hears.

    pip install 'deepgram-sagemaker[audio]'
    python microphone.py -e my-nova-endpoint

Ctrl-C ends the recording, and the last results are shown. A second Ctrl-C does not wait for them.
On a terminal the last line changes while its words are spoken; elsewhere only final results are
printed. The exit code is 0 only if all of the audio was transcribed.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from deepgram import AsyncDeepgramClient
from deepgram.listen.v1.socket_client import AsyncV1SocketClient
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError

try:
    import sounddevice
except (ImportError, OSError) as error:  # not installed, or PortAudio is missing
    sys.exit(
        f"failed: {error} (pip install 'deepgram-sagemaker[audio]'; on Linux also libportaudio2)"
    )

RATE = 16_000
BLOCK = 800
"""Samples recorded at a time: 50 ms."""
WAITING = 200
"""Blocks that may wait to be sent: 10 s. Only a long outage makes any wait."""


class CaptionError(Exception):
    """The microphone cannot be used, or some of its audio has no caption."""


class Microphone:
    """What the microphone hears: an async iterator of 16-bit samples.

    Args:
        device: The name or number of an input device; None: the default one.

    Raises:
        CaptionError: The device cannot be opened.
    """

    def __init__(self, device: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stopped = False
        self.lost = 0
        """Gaps in the recording so far."""
        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=RATE,
                channels=1,
                dtype="int16",
                blocksize=BLOCK,
                device=int(device) if device and device.isdigit() else device,
                callback=self._hear,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise CaptionError(f"the microphone cannot be used: {error}") from error

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record, until Ctrl-C or the end of the context."""
        # Where the loop cannot handle signals (Windows), Ctrl-C ends the program at once.
        with suppress(NotImplementedError):
            self._loop.add_signal_handler(signal.SIGINT, self.stop)
        try:
            with self._stream:
                yield
        finally:
            with suppress(NotImplementedError):
                self._loop.remove_signal_handler(signal.SIGINT)

    def stop(self) -> None:
        """End the recording; what was heard until now is still sent."""
        self._stopped = True
        self._blocks.put_nowait(None)
        # The next Ctrl-C interrupts the program as usual.
        with suppress(NotImplementedError):
            self._loop.remove_signal_handler(signal.SIGINT)

    def _hear(self, data: object, _frames: int, _time: object, status: object) -> None:
        # Called in a thread of its own. The buffer is used again afterwards, so it is copied.
        block = bytes(data)  # type: ignore[call-overload]
        overflow = bool(getattr(status, "input_overflow", False))
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, block, overflow)

    def _take(self, block: bytes, overflow: bool) -> None:
        if self._stopped:
            return
        if self._blocks.qsize() >= WAITING:
            overflow = True
        else:
            self._blocks.put_nowait(block)
        self.lost += overflow

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (block := await self._blocks.get()) is not None:
            yield block


async def caption(arguments: argparse.Namespace) -> None:
    """Stream the microphone and show its results."""
    config = SageMakerConfig(
        arguments.endpoint_name,
        region=arguments.region,
        # After an error or Ctrl-C nobody waits for the last results.
        close_timeout=1.0,
    )
    factory = SageMakerTransportFactory(config=config)
    # AWS credentials authenticate; the SDK only checks that an API key is given.
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    microphone = Microphone(arguments.device)
    async with client.listen.v1.connect(
        model=arguments.model,
        encoding="linear16",
        sample_rate=RATE,
        interim_results="true",
        smart_format="true",
    ) as connection:
        with microphone.recording():
            print("Listening; Ctrl-C ends the recording.", file=sys.stderr)
            await asyncio.gather(send(connection, microphone), show(connection))
    if microphone.lost:
        raise CaptionError(f"gaps in the recording: {microphone.lost}; this computer was too busy")
    if factory.stats.seconds_lost:
        # Only if a stream broke when more audio waited for results than the replay buffer holds.
        raise CaptionError(f"{factory.stats.seconds_lost:.1f} s of audio have no result")


async def send(connection: AsyncV1SocketClient, microphone: Microphone) -> None:
    """Send what is heard until the recording ends, then ask for the last results."""
    async for block in microphone:
        await connection.send_media(block)
    await connection.send_close_stream()


async def show(connection: AsyncV1SocketClient) -> None:
    """Show results until the service has sent the last one."""
    is_terminal = sys.stdout.isatty()
    async for message in connection:
        if message.type == "Error":
            raise CaptionError(f"the service says: {message.description}")
        if message.type != "Results":
            continue
        text = message.channel.alternatives[0].transcript
        if is_terminal:
            # Each interim result replaces the one before; the final one stays.
            erase = "\r\x1b[K"
            if message.is_final:
                print(f"{erase}{text}" if text else erase, end="\n" if text else "", flush=True)
            else:
                columns = shutil.get_terminal_size().columns
                print(f"{erase}\x1b[2m{text[1 - columns :]}\x1b[0m", end="", flush=True)
        elif message.is_final and text:
            print(text, flush=True)


def main() -> int:
    """Read the command line, show captions, and return the exit code."""
    parser = argparse.ArgumentParser(description="Live captions of the microphone, on SageMaker.")
    parser.add_argument(
        "-e",
        "--endpoint-name",
        default=os.environ.get("SAGEMAKER_ENDPOINT_NAME"),
        help="the SageMaker endpoint (default: $SAGEMAKER_ENDPOINT_NAME)",
    )
    parser.add_argument(
        "--region", default="auto", help="its region (default: that of the environment or profile)"
    )
    parser.add_argument("--model", default="nova-3", help="Deepgram's model (%(default)s)")
    parser.add_argument("--device", help="name or number of an input device (the default one)")
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    try:
        asyncio.run(caption(arguments))
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, CaptionError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
