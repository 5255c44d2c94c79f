"""One session through the published release, in its own environment: `published_session.py URI CA`.

Reads one chunk size and the audio from standard input; writes what came back as JSON.
"""

import asyncio
import json
import sys

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram_sagemaker import SageMakerTransportFactory
from published import point_at


async def main():
    uri, ca_bundle, size = sys.argv[1:]
    audio = sys.stdin.buffer.read()
    point_at(uri, ca_bundle)
    factory = SageMakerTransportFactory(endpoint_name="local", region="us-east-1")
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    messages, errors = [], []
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=16000
    ) as connection:
        connection.on(EventType.MESSAGE, messages.append)
        connection.on(EventType.ERROR, lambda error: errors.append(repr(error)))
        listening = asyncio.create_task(connection.start_listening())
        for start in range(0, len(audio), int(size)):
            await connection.send_media(audio[start : start + int(size)])
            # As it would speak. It takes hundreds of microseconds for each.
            await asyncio.sleep(0.002)
        await connection.send_close_stream()
        await listening
    json.dump(
        {
            "types": [message.type for message in messages],
            "transcript": " ".join(
                message.channel.alternatives[0].transcript
                for message in messages
                if message.type == "Results" and message.is_final
            ),
            "errors": errors,
        },
        sys.stdout,
    )


asyncio.run(main())
