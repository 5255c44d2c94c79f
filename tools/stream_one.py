"""Streams one session from an installed wheel, and prints what came back."""

import asyncio
import sys

import deepgram_sagemaker
from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark import chunk

CHUNKS = 100


async def main() -> None:
    words: list[str] = []
    async with LocalEndpoint(model="watermark") as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        async with client.listen.v1.connect(
            model="nova-3", encoding="linear16", sample_rate=16000
        ) as connection:

            def heard(message: object) -> None:
                if getattr(message, "type", "") == "Results":
                    words.extend(message.channel.alternatives[0].transcript.split())

            connection.on(EventType.MESSAGE, heard)
            listening = asyncio.create_task(connection.start_listening())
            for number in range(CHUNKS):
                await connection.send_media(chunk(number, 640))
            await connection.send_close_stream()
            await listening
    if words != [str(number) for number in range(CHUNKS)]:
        sys.exit(f"lost or repeated something: {words}")
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"{deepgram_sagemaker.__version__} on Python {version}: {len(words)} chunks, all back")


asyncio.run(main())
