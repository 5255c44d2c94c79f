"""The application under test: it turns a stream of audio into captions."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass

from deepgram import AsyncDeepgramClient
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory


@dataclass(frozen=True)
class Caption:
    """What was said in a part of the audio; times in seconds."""

    start: float
    end: float
    text: str


async def caption(config: SageMakerConfig, audio: AsyncIterable[bytes]) -> list[Caption]:
    """Return the captions of audio.

    The settings are an argument: in production they name the real endpoint, in a test
    the local one.

    Args:
        config: The endpoint.
        audio: 16-bit samples, one channel, 16 kHz.

    Raises:
        SageMakerError: The audio could not be transcribed.
    """
    factory = SageMakerTransportFactory(config=config)
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    captions = []
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=16_000, smart_format="true"
    ) as connection:

        async def send() -> None:
            async for chunk in audio:
                await connection.send_media(chunk)
            await connection.send_close_stream()

        async def listen() -> None:
            async for message in connection:
                if message.type == "Results" and message.is_final:
                    text = message.channel.alternatives[0].transcript
                    end = message.start + message.duration
                    captions.append(Caption(message.start, end, text))

        await asyncio.gather(send(), listen())
    return captions
