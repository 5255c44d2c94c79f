"""Have a text spoken by Aura, and write it to a WAV file.

    python speak_to_file.py -e my-aura-endpoint -o ready.wav 'Your table is ready.'
    python speak_to_file.py -e my-aura-endpoint -o chapter.wav - < chapter.txt

The text may have any length. The file appears when all of it has been spoken; after a failure the
file that was there before is still there.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram.speak.v1.socket_client import AsyncV1SocketClient
from deepgram.speak.v1.types import SpeakV1Text
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError

MOST_CHARACTERS = 2_000
"""Deepgram's limit for one message."""


class SpeechError(Exception):
    """The text was not spoken, or not all of it."""


def write_file(arguments: argparse.Namespace) -> float:
    """Have the text spoken, write the file, and return its length in seconds."""
    text = (sys.stdin.read() if arguments.text == "-" else arguments.text).strip()
    if not text:
        raise SpeechError("there is no text to speak")
    path = Path(arguments.output)
    # Beside the file, so that it can take its place in one step.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".speech-") as folder:
        unfinished = Path(folder, "speech.wav")
        with wave.open(str(unfinished), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(arguments.sample_rate)
            asyncio.run(speak(arguments, text, wav))
            frames = wav.getnframes()
        if not frames:
            raise SpeechError("the service spoke nothing")
        unfinished.replace(path)
    return frames / float(arguments.sample_rate)


async def speak(arguments: argparse.Namespace, text: str, wav: wave.Wave_write) -> None:
    """Have a text spoken into a file."""
    config = SageMakerConfig(
        arguments.endpoint_name,
        region=arguments.region,
        # After an error or Ctrl-C the last results are not waited for.
        close_timeout=1.0,
    )
    factory = SageMakerTransportFactory(config=config)
    # AWS credentials authenticate; the SDK only checks that an API key is given.
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    async with client.speak.v1.connect(
        model=arguments.model, encoding="linear16", sample_rate=arguments.sample_rate
    ) as connection:
        await asyncio.gather(send(connection, text), write(connection, wav))


async def send(connection: AsyncV1SocketClient, text: str) -> None:
    """Send the text, and ask for all of its audio."""
    for piece in pieces(text):
        await connection.send_text(SpeakV1Text(text=piece))
    await connection.send_flush()
    await connection.send_close()


async def write(connection: AsyncV1SocketClient, wav: wave.Wave_write) -> None:
    """Write the audio until the service has sent all of it."""
    is_complete = False
    async for message in connection:
        if isinstance(message, bytes):
            wav.writeframes(message)
        elif message.type == "Flushed":
            is_complete = True
        elif message.type == "Error":
            raise SpeechError(f"the service says: {message.description}")
        elif message.type == "Warning":
            print(f"warning: {message.description}", file=sys.stderr)
    if not is_complete:
        raise SpeechError("the service ended before all of the text was spoken")


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces that fit into a message, cut between sentences or words."""
    while len(text) > MOST_CHARACTERS:
        head = text[:MOST_CHARACTERS]
        ends = list(re.finditer(r"[.!?]\s+", head)) or list(re.finditer(r"\s+", head))
        # A word that is longer than a message can only be cut within. White space stays with the
        # piece in front of it, because pieces are spoken as one text.
        cut = ends[-1].end() if ends else MOST_CHARACTERS
        yield text[:cut]
        text = text[cut:]
    yield text


def main() -> int:
    """Read the command line, write the file, and return the exit code."""
    parser = argparse.ArgumentParser(description="Have a text spoken on SageMaker.")
    parser.add_argument("text", help="the text, or - for standard input")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.wav", help="what to write")
    parser.add_argument(
        "-e",
        "--endpoint-name",
        default=os.environ.get("SAGEMAKER_ENDPOINT_NAME"),
        help="the SageMaker endpoint (default: $SAGEMAKER_ENDPOINT_NAME)",
    )
    parser.add_argument(
        "--region", default="auto", help="its region (default: that of the environment or profile)"
    )
    parser.add_argument("--model", default="aura-2-thalia-en", help="the voice (%(default)s)")
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=24_000,
        choices=(8_000, 16_000, 24_000, 32_000, 48_000),
        help="samples per second (%(default)s)",
    )
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    try:
        seconds = write_file(arguments)
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, SpeechError, OSError, UnicodeDecodeError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
