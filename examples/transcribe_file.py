"""Transcribe a WAV file with Nova, at the pace at which it was spoken.

    python transcribe_file.py -e my-nova-endpoint interview.wav

Each line is a final result with its times in seconds. The exit code is 0 only if all of the audio
was transcribed.
"""

import argparse
import asyncio
import os
import sys
import time
import wave

from deepgram import AsyncDeepgramClient
from deepgram.listen.v1.socket_client import AsyncV1SocketClient
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError


class TranscriptionError(Exception):
    """The file has no transcript, or not a whole one."""


async def transcribe(arguments: argparse.Namespace) -> None:
    """Stream the file and print its final results."""
    # A path that cannot be read fails here, before anything is connected.
    with wave.open(arguments.file) as wav:
        if wav.getsampwidth() != 2 or not wav.getnframes():
            raise TranscriptionError(f"{arguments.file} has no 16-bit audio")
        config = SageMakerConfig(
            arguments.endpoint_name,
            region=arguments.region,
            # After an error or Ctrl-C the last results are not waited for.
            close_timeout=1.0,
        )
        factory = SageMakerTransportFactory(config=config)
        # AWS credentials authenticate; the SDK only checks that an API key is given.
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        async with client.listen.v1.connect(
            model=arguments.model,
            encoding="linear16",
            sample_rate=wav.getframerate(),
            channels=wav.getnchannels(),
            # Each channel has its own results, as with the two sides of a telephone call.
            multichannel="true" if wav.getnchannels() > 1 else "false",
            smart_format="true",
        ) as connection:
            await asyncio.gather(send(connection, wav, arguments.speed), show(connection))
    stats = factory.stats
    if stats.resets:
        # Nothing to worry about: the results are whole. It is said because it is rare.
        print(
            f"broken streams: {sum(stats.resets.values())}; "
            f"audio sent again: {stats.seconds_replayed:.1f} s",
            file=sys.stderr,
        )
    if stats.seconds_lost:
        # Only if a stream broke when more audio waited for results than the replay buffer holds.
        raise TranscriptionError(f"{stats.seconds_lost:.1f} s of audio have no result")


async def send(connection: AsyncV1SocketClient, wav: wave.Wave_read, speed: float) -> None:
    """Send the file's audio in pieces of 50 ms, then ask for the last results."""
    rate = wav.getframerate()
    start = time.monotonic()
    while chunk := wav.readframes(max(1, rate // 20)):
        await connection.send_media(chunk)
        # Counted from the start, so that late wake-ups do not add up.
        await asyncio.sleep(start + wav.tell() / rate / speed - time.monotonic())
    await connection.send_close_stream()


async def show(connection: AsyncV1SocketClient) -> None:
    """Print final results until the service has sent the last one."""
    async for message in connection:
        if message.type == "Error":
            raise TranscriptionError(f"the service says: {message.description}")
        if message.type != "Results" or not message.is_final:
            continue
        text = message.channel.alternatives[0].transcript
        if not text:
            continue  # silence
        channel, channels = message.channel_index
        speaker = f"channel {channel}  " if channels > 1 else ""
        end = message.start + message.duration
        print(f"{message.start:7.2f} - {end:7.2f}  {speaker}{text}", flush=True)


def main() -> int:
    """Read the command line, transcribe, and return the exit code."""
    parser = argparse.ArgumentParser(description="Transcribe a WAV file on SageMaker.")
    parser.add_argument("file", help="a WAV file with 16-bit samples")
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
    parser.add_argument(
        "--speed", type=float, default=1.0, help="pace, in times real time (%(default)s)"
    )
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    if not arguments.speed > 0:
        parser.error("--speed must be above 0")
    try:
        asyncio.run(transcribe(arguments))
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, TranscriptionError, OSError, wave.Error) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except EOFError:
        print(f"failed: {arguments.file} is cut short", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
