"""Show the turns of a conversation with Flux, which hears when a speaker has finished.

    python flux_turns.py -e my-flux-endpoint call.wav
    python flux_turns.py -e my-flux-endpoint call.wav --eager 0.5

A voice application answers at the end of a turn. With `--eager`, Flux also says when a turn has
probably ended: the moment to prepare an answer, which is thrown away if the turn goes on. The exit
code is 0 only if all of the audio was heard.
"""

import argparse
import asyncio
import os
import sys
import time
import wave
from typing import Any

from deepgram import AsyncDeepgramClient
from deepgram.listen.v2.socket_client import AsyncV2SocketClient
from deepgram.listen.v2.types import ListenV2TurnInfo
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError


class TurnsError(Exception):
    """The file's turns cannot be shown, or not all of them."""


async def follow(arguments: argparse.Namespace) -> None:
    """Stream the file and print its turns."""
    # A path that cannot be read fails here, before anything is connected.
    with wave.open(arguments.file) as wav:
        if (wav.getsampwidth(), wav.getnchannels()) != (2, 1) or not wav.getnframes():
            raise TurnsError(f"{arguments.file} has no 16-bit audio of one channel")
        config = SageMakerConfig(
            arguments.endpoint_name,
            region=arguments.region,
            # After an error or Ctrl-C the last results are not waited for.
            close_timeout=1.0,
        )
        factory = SageMakerTransportFactory(config=config)
        # AWS credentials authenticate; the SDK only checks that an API key is given.
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        options: dict[str, Any] = {"model": arguments.model}
        if arguments.eager is not None:
            options["eager_eot_threshold"] = arguments.eager
        async with client.listen.v2.connect(
            encoding="linear16", sample_rate=wav.getframerate(), **options
        ) as connection:
            await asyncio.gather(send(connection, wav), show(connection))
    if factory.stats.seconds_lost:
        # Only if a stream broke when more audio waited for turns than the replay buffer holds.
        raise TurnsError(f"{factory.stats.seconds_lost:.1f} s of audio were not heard")


async def send(connection: AsyncV2SocketClient, wav: wave.Wave_read) -> None:
    """Send the file's audio at the pace at which it was spoken, then close the stream."""
    rate = wav.getframerate()
    start = time.monotonic()
    while chunk := wav.readframes(max(1, rate * 80 // 1000)):  # Deepgram recommends 80 ms
        await connection.send_media(chunk)
        # Counted from the start, so that late wake-ups do not add up.
        await asyncio.sleep(start + wav.tell() / rate - time.monotonic())
    await connection.send_close_stream()


async def show(connection: AsyncV2SocketClient) -> None:
    """Print what happens until the service has sent everything."""
    unfinished: ListenV2TurnInfo | None = None
    async for message in connection:
        if message.type == "Error":
            raise TurnsError(f"the service says: {message.description}")
        if message.type != "TurnInfo":
            continue
        unfinished = message if message.transcript else None
        match message.event:
            case "StartOfTurn":
                # The speaker has begun: an application that is speaking falls silent here.
                say(message, "starts")
            case "EagerEndOfTurn":
                say(message, "may be over", message.transcript)
            case "TurnResumed":
                say(message, "goes on")
            case "EndOfTurn":
                say(message, "is over", message.transcript)
                unfinished = None
    # CloseStream ends no turn: what was said in an open one is in its last report.
    if unfinished is not None:
        say(unfinished, "has no end", unfinished.transcript)


def say(message: ListenV2TurnInfo, event: str, text: str = "") -> None:
    """Print one event with its time in the audio."""
    line = f"{message.audio_window_end:7.2f} s  turn {message.turn_index:.0f} {event}"
    print(f"{line:<32}{text}".rstrip(), flush=True)


def main() -> int:
    """Read the command line, show the turns, and return the exit code."""
    parser = argparse.ArgumentParser(description="Show the turns in a WAV file, on SageMaker.")
    parser.add_argument("file", help="a WAV file with 16-bit samples, one channel")
    parser.add_argument(
        "-e",
        "--endpoint-name",
        default=os.environ.get("SAGEMAKER_ENDPOINT_NAME"),
        help="the SageMaker endpoint (default: $SAGEMAKER_ENDPOINT_NAME)",
    )
    parser.add_argument(
        "--region", default="auto", help="its region (default: that of the environment or profile)"
    )
    parser.add_argument("--model", default="flux-general-en", help="the model (%(default)s)")
    parser.add_argument(
        "--eager", type=float, help="confidence at which a turn may be over: 0.3 to 0.9"
    )
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    try:
        asyncio.run(follow(arguments))
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, TurnsError, OSError, wave.Error) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except EOFError:
        print(f"failed: {arguments.file} is cut short", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
