"""A gateway: a WebSocket server that speaks as Deepgram does, in front of sessions.

Clients in any language connect to it as to `wss://api.deepgram.com`. Each connection is carried
over a session to SageMaker, and the payloads do not pass through Python (`rust/gateway`).

    async with Gateway(config=SageMakerConfig("my-endpoint"), port=8080) as gateway:
        print(gateway.url)

Imports `driver`, `events`, `invocation`, `stats`, `wakeups` and `_native`; never `local`, never
`cli`. Tests: `tests/gateway`.

    server        the gateway, as its users have it
    conversation  one connection: opens its session, answers, closes
    answers       errors as refusals in HTTP and as close codes
    records       what users pass in and get: keys, pages, finished requests
"""

from deepgram_sagemaker._native import GatewayRequest

from .records import Key, Page, Served
from .server import Gateway

__all__ = ["Gateway", "GatewayRequest", "Key", "Page", "Served"]
