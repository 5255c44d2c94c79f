"""Records the endpoint's answers for the floor."""

import asyncio
import os

from deepgram_sagemaker import SageMakerConfig, SageMakerTransport
from driver import CHUNK
from floor import CHUNKS_A_REPLY

__all__ = ["replies"]


def replies(where: dict[str, str], audio: bytes) -> list[str]:
    """The final results for `audio`, one for every ten chunks, as they came.

    Args:
        where: The endpoint, as its process describes it.
        audio: Watermarked chunks.
    """
    os.environ["AWS_ACCESS_KEY_ID"] = where["access_key_id"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = where["secret_access_key"]
    return asyncio.run(_replies(where, audio))


async def _replies(where: dict[str, str], audio: bytes) -> list[str]:
    config = SageMakerConfig(
        where["endpoint_name"],
        where["region"],
        endpoint_uri=where["uri"],
        ca_bundle=where["ca_bundle"],
    )
    transport = SageMakerTransport(
        config, "v1/listen", "model=nova-3&encoding=linear16&sample_rate=16000"
    )
    messages = []
    try:
        for at in range(0, len(audio), CHUNK):
            await transport.send(audio[at : at + CHUNK])
        for _ in range(len(audio) // CHUNK // CHUNKS_A_REPLY):
            message = await transport.recv()
            assert isinstance(message, str)
            messages.append(message)
    finally:
        await transport.close()
    return messages
