"""Use several endpoints in one program: Aura speaks a text, and Nova and Flux say what they hear.

    python several_endpoints.py --aura my-aura --nova my-nova --flux my-flux 'Good morning.'

Nova, Flux and Aura are separate endpoints on SageMaker. The Deepgram SDK accepts one transport
factory a process, so the factory has a route for each path.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator

from deepgram import AsyncDeepgramClient
from deepgram.speak.v1.types import SpeakV1Text
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError

RATE = 16_000
"""Samples per second, spoken and heard."""
PIECE = RATE * 2 * 80 // 1000
"""Bytes of 80 ms, as Deepgram recommends for Flux."""


class EndpointError(Exception):
    """One of the endpoints did not do its part."""


async def compare(arguments: argparse.Namespace) -> None:
    """Have the text spoken, and print what each listener hears."""
    # Each endpoint has its own settings; they may be in different regions and accounts.
    factory = SageMakerTransportFactory(
        routes={
            "v1/speak": SageMakerConfig(arguments.aura, region=arguments.region),
            "v1/listen": SageMakerConfig(arguments.nova, region=arguments.region),
            "v2/listen": SageMakerConfig(arguments.flux, region=arguments.region),
        }
    )
    # AWS credentials authenticate; the SDK only checks that an API key is given.
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    audio = await speech(client, arguments.text)
    print(f"Aura spoke {len(audio) / 2 / RATE:.1f} s.")
    nova, flux = await asyncio.gather(heard_by_nova(client, audio), heard_by_flux(client, audio))
    if factory.stats.seconds_lost:
        # Only if a stream broke when more audio waited for results than the replay buffer holds.
        raise EndpointError(f"{factory.stats.seconds_lost:.1f} s of audio were not heard")
    print(f"Nova heard: {nova}")
    print(f"Flux heard: {flux}")


async def speech(client: AsyncDeepgramClient, text: str) -> bytes:
    """Return the audio of a text."""
    audio = bytearray()
    is_complete = False
    async with client.speak.v1.connect(
        model="aura-2-thalia-en", encoding="linear16", sample_rate=RATE
    ) as connection:
        await connection.send_text(SpeakV1Text(text=text))
        await connection.send_flush()
        await connection.send_close()
        async for message in connection:
            if isinstance(message, bytes):
                audio += message
            elif message.type == "Flushed":
                is_complete = True
            elif message.type == "Error":
                raise EndpointError(f"Aura says: {message.description}")
    if not (is_complete and audio):
        raise EndpointError("Aura did not speak all of the text")
    return bytes(audio)


async def heard_by_nova(client: AsyncDeepgramClient, audio: bytes) -> str:
    """Return Nova's transcript."""
    texts = []
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=RATE, smart_format="true"
    ) as connection:

        async def send() -> None:
            async for piece in paced(audio):
                await connection.send_media(piece)
            await connection.send_close_stream()

        async def listen() -> None:
            async for message in connection:
                if message.type == "Error":
                    raise EndpointError(f"Nova says: {message.description}")
                if message.type == "Results" and message.is_final:
                    texts.append(message.channel.alternatives[0].transcript)

        await asyncio.gather(send(), listen())
    return " ".join(filter(None, texts))


async def heard_by_flux(client: AsyncDeepgramClient, audio: bytes) -> str:
    """Return the transcripts of Flux's turns."""
    # By turn: each report replaces the one before, and the last turn may have no end.
    turns: dict[float, str] = {}
    async with client.listen.v2.connect(
        model="flux-general-en", encoding="linear16", sample_rate=RATE
    ) as connection:

        async def send() -> None:
            async for piece in paced(audio):
                await connection.send_media(piece)
            await connection.send_close_stream()

        async def listen() -> None:
            async for message in connection:
                if message.type == "Error":
                    raise EndpointError(f"Flux says: {message.description}")
                if message.type == "TurnInfo":
                    turns[message.turn_index] = message.transcript

        await asyncio.gather(send(), listen())
    return " ".join(filter(None, turns.values()))


async def paced(audio: bytes) -> AsyncIterator[bytes]:
    """Yield audio in pieces, as fast as it is played."""
    start = time.monotonic()
    for at in range(0, len(audio), PIECE):
        yield audio[at : at + PIECE]
        # Counted from the start, so that late wake-ups do not add up.
        await asyncio.sleep(start + (at + PIECE) / 2 / RATE - time.monotonic())


def main() -> int:
    """Read the command line, compare, and return the exit code."""
    parser = argparse.ArgumentParser(description="Aura speaks; Nova and Flux say what they hear.")
    parser.add_argument("text", help="what Aura says")
    parser.add_argument("--aura", required=True, metavar="ENDPOINT", help="SageMaker endpoint")
    parser.add_argument("--nova", required=True, metavar="ENDPOINT", help="SageMaker endpoint")
    parser.add_argument("--flux", required=True, metavar="ENDPOINT", help="SageMaker endpoint")
    parser.add_argument(
        "--region",
        default="auto",
        help="their region (default: from environment or profile)",
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(compare(arguments))
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, EndpointError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
