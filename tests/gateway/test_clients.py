"""Clients of others, as their users have them, while streams break behind the gateway."""

import asyncio
import json
import shutil
import subprocess
import threading
import time

import pytest
from deepgram import DeepgramClient
from deepgram.agent.v1.types import AgentV1Settings
from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak
from deepgram_sagemaker.gateway import Key
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterMessages, Fault, Reset
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from e2e import agents, flux, voices
from e2e.survival import LINEAR16, client_through
from gateway.clients import LISTEN, gateway_to, numbers_in
from sessions import CHUNK, counted_chunk
from sessions import LISTEN as QUERY
from sessions import Heard as HeardFinals

CHUNKS = 150
TURNS = voices.script(4)
KEY = "a-key-of-the-test"

pytestmark = pytest.mark.patience(90)


class Listener(threading.Thread):
    """Has the sync SDK's handlers called, in a thread of its own, as its examples do."""

    def __init__(self, connection, take, errors):
        super().__init__(target=connection.start_listening)
        connection.on(EventType.MESSAGE, take)
        connection.on(EventType.ERROR, errors.append)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.join(30)
        assert not self.is_alive()


def listen_v1(client):
    heard = HeardFinals()
    with (
        client.listen.v1.connect(**QUERY) as connection,
        Listener(connection, heard.messages.append, heard.errors),
    ):
        for number in range(CHUNKS):
            connection.send_media(counted_chunk(number))
            time.sleep(0.002)
        connection.send_close_stream()
    assert heard.errors == []
    assert heard.numbers == list(range(CHUNKS))


def listen_v2(client):
    told = flux.Told()
    options = {"additional_query_parameters": LINEAR16.query}
    with (
        client.listen.v2.connect(model="flux-general-en", request_options=options) as connection,
        Listener(connection, told.messages.append, told.errors),
    ):
        for number in range(CHUNKS):
            connection.send_media(LINEAR16.chunk(number))
            time.sleep(0.002)
        connection.send_close_stream()
    flux.assert_whole(told, LINEAR16, CHUNKS)


def spoken(client, version):
    said, output = voices.Said(), voices.LINEAR16
    speak = {1: client.speak.v1, 2: client.speak.v2}[version]
    model = {} if version == 1 else {"model": "flux-haley-en"}
    options = {"additional_query_parameters": output.query}
    with (
        speak.connect(request_options=options, **model) as connection,
        Listener(connection, said.take, said.errors),
    ):
        for words in TURNS:
            text = " ".join(map(str, words))
            if version == 1:
                connection.send_text(SpeakV1Text(text=text))
            else:
                connection.send_speak(SpeakV2Speak(text=text))
            connection.send_flush()
        connection.send_close()
    return said, output


def speak_v1(client):
    said, output = spoken(client, 1)
    voices.assert_aura(said, TURNS, output)


def speak_v2(client):
    said, output = spoken(client, 2)
    voices.assert_flux(said, TURNS, output)


def agent_v1(client):
    talked, turns = agents.Talked(), 2
    with (
        client.agent.v1.connect() as connection,
        Listener(connection, talked.messages.append, talked.errors),
    ):
        connection.send_settings(
            AgentV1Settings(type="Settings", audio=agents.AUDIO, agent=agents.AGENT)
        )

        def silence_until(condition):
            deadline = time.monotonic() + 30
            while not condition() and not talked.errors:
                assert time.monotonic() < deadline
                connection.send_media(bytes(agents.SIZE))
                time.sleep(0.002)

        silence_until(lambda: talked.of("AgentAudioDone"))
        for number in range(turns * agents.TURN):
            turn, place = divmod(number, agents.TURN)
            connection.send_media(agents.chunk(number, agents.SIZE))
            time.sleep(0.002)
            if place == agents.TURN - 1:
                silence_until(lambda turn=turn: agents.is_done(talked, 2 + turn))
        connection._websocket.close()
    agents.assert_one_conversation(talked, turns, ())


PRODUCTS = {
    "v1/listen": (listen_v1, Watermark(window=5), 40),
    "v2/listen": (listen_v2, WatermarkFlux(turn=flux.TURN), 40),
    "v1/speak": (speak_v1, WatermarkAura(), 3),
    "v2/speak": (speak_v2, WatermarkAura(), 3),
    "v1/agent/converse": (agent_v1, agents.Overheard(), 25),
}


@pytest.mark.parametrize("product", PRODUCTS)
async def test_the_sync_sdk_reaches_sagemaker_through_resets(product):
    """`DeepgramClient`, which cannot have the transport, in every product."""
    converse, model, messages = PRODUCTS[product]
    faults = [Fault(Reset(), when=AfterMessages(messages), legs=(1, 2), times=2)]
    async with (
        LocalEndpoint(model=model, faults=faults) as endpoint,
        gateway_to(endpoint, keys=[Key("sync", KEY)]) as gateway,
    ):
        await asyncio.to_thread(converse, client_through(gateway, DeepgramClient, KEY))
        assert sum(gateway.stats.resets.values()) == 2
        assert gateway.stats.bytes_lost == 0


@pytest.fixture
def node():
    """The command that runs node with a WebSocket."""
    path = shutil.which("node")
    said = "" if path is None else subprocess.check_output([path, "--version"], text=True)
    major = int(said.strip("v").partition(".")[0] or 0)
    if major < 20:
        pytest.skip("node 20 or later is not installed")
    # Later it is no experiment any more.
    return [path, *(["--experimental-websocket"] if major < 22 else [])]


async def test_a_browser_s_websocket_loses_nothing(node, tmp_path):
    audio = tmp_path / "audio"
    audio.write_bytes(b"".join(map(counted_chunk, range(CHUNKS))))
    faults = [Fault(Reset(), when=AfterMessages(40), legs=(1, 2), times=2)]
    async with (
        LocalEndpoint(faults=faults) as endpoint,
        gateway_to(endpoint, keys=[Key("page", KEY)]) as gateway,
    ):
        script = __file__.replace("test_clients.py", "browser.mjs")
        process = await asyncio.create_subprocess_exec(
            *(*node, script, gateway.url + LISTEN, KEY, str(audio), str(CHUNK)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, err.decode()
        told = json.loads(out)
        assert (told["code"], told["protocol"]) == (1000, "token")
        assert numbers_in(told["messages"]) == list(range(CHUNKS))
        assert sum(gateway.stats.resets.values()) == 2
