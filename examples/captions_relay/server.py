"""Serve a page with live captions of the browser's microphone.

    pip install deepgram-sagemaker fastapi uvicorn
    python server.py -e my-nova-endpoint

The page sends 16-bit audio over a WebSocket. The relay holds one session with the endpoint for each
tab, and passes the captions back. Browsers never get AWS credentials, and a broken stream is
repaired here, without the page's knowledge. The messages to the page are JSON:

    {"type": "caption", "start": 4.7, "end": 6.5, "text": "…", "final": true, "pause": false}
    {"type": "end"}                                     after "stop": all audio has its captions
    {"type": "failed", "message": "…", "retry": true}   the session is over; may another one work?

Whoever can open the page can use the endpoint: put the relay behind your own sign-in.
"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from deepgram import AsyncDeepgramClient
from deepgram.listen.v1.socket_client import AsyncV1SocketClient
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import RetriesExhaustedError, SageMakerError

try:
    import uvicorn
    from fastapi import FastAPI, Query, WebSocket, WebSocketDisconnect
    from fastapi.responses import FileResponse
except ImportError as error:
    sys.exit(f"failed: {error} (pip install fastapi uvicorn)")

PAGE = Path(__file__).with_name("index.html")
TAB_SECONDS = 10.0
"""The longest that a tab may take to read a caption. A slower one is taken for gone."""
MOST_RATE = 96_000
"""The highest sample rate: the replay buffer then holds more seconds than the retries take."""

SERVER: dict[str, Any] = {
    # A message of the page has 50 ms of audio.
    "ws_max_size": 2**16,
    # Compressing audio costs much and saves little.
    "ws_per_message_deflate": False,
    # A tab that has vanished without a word is noticed after at most 20 s.
    "ws_ping_interval": 10.0,
    "ws_ping_timeout": 10.0,
    "timeout_graceful_shutdown": 5,
}
"""How uvicorn serves the tabs."""

logger = logging.getLogger("captions_relay")


class SessionError(Exception):
    """The session ended although the tab had not stopped."""


def create_app(config: SageMakerConfig, model: str = "nova-3") -> FastAPI:
    """Return the application.

    Args:
        config: The endpoint. `max_concurrency` is the most tabs at a time; further ones wait.
        model: Deepgram's model.
    """
    app = FastAPI(title="Live captions", openapi_url=None)
    # One factory for all tabs: they share its limits, its AWS client and its credentials.
    factory = SageMakerTransportFactory(config=config)
    # AWS credentials authenticate; the SDK only checks that an API key is given.
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)

    @app.get("/")
    async def page() -> FileResponse:
        # The browser asks again each time, so that a new release is seen at once.
        return FileResponse(PAGE, headers={"Cache-Control": "no-cache"})

    @app.websocket("/captions")
    async def captions(
        tab: WebSocket, sample_rate: Annotated[int, Query(ge=8_000, le=MOST_RATE)]
    ) -> None:
        # Browsers let any page open a WebSocket to any host, so other sites are refused here. A
        # proxy in front has to pass the Host header on.
        if urlsplit(tab.headers.get("origin", "")).netloc != tab.headers.get("host"):
            await tab.close(1008)
            return
        await tab.accept()
        try:
            async with (
                client.listen.v1.connect(
                    model=model,
                    encoding="linear16",
                    sample_rate=sample_rate,
                    interim_results="true",
                    smart_format="true",
                    endpointing=300,
                ) as session,
                # Whichever of the two fails cancels the other, and the session is closed.
                asyncio.TaskGroup() as tasks,
            ):
                stopped = asyncio.Event()
                tasks.create_task(hear(tab, session, stopped))
                tasks.create_task(show(tab, session, stopped))
        except* (SageMakerError, SessionError) as group:
            await report(tab, group.exceptions[0])
        except* (WebSocketDisconnect, TimeoutError):
            logger.info("a tab has gone")

    return app


async def hear(tab: WebSocket, session: AsyncV1SocketClient, stopped: asyncio.Event) -> None:
    """Pass the tab's audio on, and its wish to stop, until it has gone.

    The next message is read when `send_media` has taken the one before. If the replay buffer is
    full, nothing is read, and the browser has to wait: audio never piles up here.

    Raises:
        WebSocketDisconnect: The tab has gone, or `show` has said that all is done.
    """
    while True:
        message = await tab.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if stopped.is_set():
            continue
        if message.get("text") == "stop":
            stopped.set()
            await session.send_close_stream()
        elif audio := message.get("bytes"):
            await session.send_media(audio)


async def show(tab: WebSocket, session: AsyncV1SocketClient, stopped: asyncio.Event) -> None:
    """Pass captions back until the session has ended.

    Raises:
        WebSocketDisconnect: The tab has gone.
        TimeoutError: It does not read.
        SessionError: The session ended although the tab had not stopped.
    """
    async for message in session:
        if message.type == "Error":
            # If it is the end of the session, an error says so.
            logger.warning("the service says: %s", message.description)
        if message.type != "Results":
            continue
        caption = {
            "type": "caption",
            "start": message.start,
            "end": message.start + message.duration,
            "text": message.channel.alternatives[0].transcript,
            "final": message.is_final,
            "pause": message.speech_final,
        }
        # Meanwhile the session holds a bounded number of messages, and then the service waits.
        async with asyncio.timeout(TAB_SECONDS):
            await tab.send_json(caption)
    if not stopped.is_set():
        raise SessionError("the service ended the session")
    async with asyncio.timeout(TAB_SECONDS):
        await tab.send_json({"type": "end"})
        await tab.close()


async def report(tab: WebSocket, error: Exception) -> None:
    """Tell the log why a session failed, and the tab that it did."""
    # The reason names endpoint and account, which are not the visitor's business.
    logger.error("a session failed: %s", error)
    # Retries that have run out say nothing about later ones; what failed does.
    cause = error.__cause__ if isinstance(error, RetriesExhaustedError) else error
    retry = not isinstance(cause, SageMakerError) or cause.retryable
    trouble = "cannot be reached" if retry else "refused the session"
    message = {"type": "failed", "message": f"The speech service {trouble}.", "retry": retry}
    try:
        async with asyncio.timeout(TAB_SECONDS):
            await tab.send_json(message)
            await tab.close(1011)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        logger.info("a tab went before it could be told")


def main() -> int:
    """Read the command line and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Live captions in the browser, on SageMaker.")
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
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port (%(default)s); 0: a free one")
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    if not 0 <= arguments.port < 2**16:
        parser.error("--port must be from 0 to 65535")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        config = SageMakerConfig(
            arguments.endpoint_name,
            region=arguments.region,
            # A computer that sleeps sends nothing, and the service would end the session.
            keepalive_interval=5.0,
            # A tab that has gone does not wait for its last captions.
            close_timeout=1.0,
        )
        uvicorn.run(
            create_app(config, arguments.model),
            host=arguments.host,
            port=arguments.port,
            **SERVER,
        )
    except SageMakerError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
