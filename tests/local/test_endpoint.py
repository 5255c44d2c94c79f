"""The local endpoint for people: contexts, models in Python, the records of its streams."""

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from pathlib import Path

import boto3
import pytest
from deepgram_sagemaker import SageMakerTransportFactory, errors
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterMessages, Answer, ModelStreamError, Reset
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.stream import DEEPGRAM_PATHS
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_agent import WatermarkAgent
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from sessions import is_refused

LISTEN = "wss://localhost/v1/listen?encoding=linear16&sample_rate=16000"
PATIENCE = 10


def transport(endpoint, url=LISTEN, **overrides):
    return SageMakerTransportFactory(config=endpoint.config(**overrides))(url, {})


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.005)


async def listen(endpoint, chunks):
    """Sends numbered chunks and closes the stream; the words of the finals."""
    session = transport(endpoint)
    for number in chunks:
        await session.send(chunk(number, 640))
    await session.send('{"type": "CloseStream"}')
    messages = [json.loads(message) async for message in session]
    await session.close()
    finals = [message for message in messages if message.get("is_final")]
    words = [word for final in finals for word in final["channel"]["alternatives"][0]["words"]]
    return [int(word["word"]) for word in words]


async def test_a_conversation_and_what_is_known_about_it():
    before = time.monotonic()
    async with LocalEndpoint("mine", record_arrivals=True) as endpoint:
        assert endpoint.endpoint_name == "mine"
        assert await listen(endpoint, range(25)) == list(range(25))
        await until(lambda: endpoint.legs[0].input_end != "open")
        (leg,) = endpoint.legs
        assert endpoint.legs == [leg], "times do not depend on when one looks"
        stats = endpoint.stats
    assert (leg.status, leg.end, leg.input_end) == (200, "model", "signed")
    assert (leg.path, leg.chunks, leg.controls) == ("v1/listen", 25, ("CloseStream",))
    assert "encoding=linear16" in leg.query
    assert leg.access_key_id == Credentials().access_key_id
    assert leg.audio_seconds == pytest.approx(0.5)
    assert [number for number, _ in leg.arrivals] == list(range(25))
    assert before < leg.opened <= leg.arrivals[0][1] <= leg.closed < time.monotonic()
    assert (stats.opens, stats.accepted, stats.messages_in) == (1, 1, 26)
    failures = (stats.signature_failures, stats.crc_failures, stats.bad_ends, stats.torn_chunks)
    assert failures == (0, 0, 0, 0)


async def test_the_watermark_model_takes_settings():
    async with LocalEndpoint(model=Watermark(window=7)) as endpoint:
        session = transport(endpoint)
        for number in range(7):
            await session.send(chunk(number, 640))
        final = json.loads(await asyncio.wait_for(session.recv(), PATIENCE))
        await session.close()
    assert final["duration"] == pytest.approx(0.14)


async def test_a_model_in_python_converses():
    seen = {}

    async def echo(stream):
        seen["path"], seen["query"] = stream.path, stream.query
        async for message in stream:
            await stream.send(message)
        seen["over"] = True

    async with LocalEndpoint(model=echo) as endpoint:
        session = transport(endpoint, "wss://localhost/v1/other?keyterm=two%20cities&keyterm=b")
        for message in ("grüezi", b"\x00\xff"):
            await session.send(message)
            assert await asyncio.wait_for(session.recv(), PATIENCE) == message
        await session.close()
        await until(lambda: "over" in seen)
    assert seen["path"] == "v1/other"
    assert seen["query"] == {"keyterm": ["two cities", "b"]}


async def test_a_model_may_fail_the_stream():
    async def refuse(stream):
        await stream.fail("1008", "DATA-0000: no such thing")

    async with LocalEndpoint(model=refuse) as endpoint:
        session = transport(endpoint)
        await session.send("hello")
        with pytest.raises(errors.ModelError) as caught:
            await asyncio.wait_for(session.recv(), PATIENCE)
        await session.close()
    assert "DATA-0000" in str(caught.value)


async def test_a_model_that_raises_is_logged_and_fails_the_stream(caplog):
    async def broken(stream):
        raise RuntimeError("out of ideas")

    async with LocalEndpoint(model=broken) as endpoint:
        session = transport(endpoint, max_retries=0)
        await session.send("hello")
        with pytest.raises(errors.SageMakerError):
            await asyncio.wait_for(session.recv(), PATIENCE)
        await session.close()
        assert endpoint.legs[0].end == "model_failed"
    assert any(record.levelno == logging.ERROR for record in caplog.records)


async def test_a_model_hears_that_its_client_is_gone():
    over = asyncio.Event()
    outcome = []

    async def patient(stream):
        outcome.extend([message async for message in stream])
        try:
            await stream.send("anybody?")
        except ConnectionError as error:
            outcome.append(error)
        over.set()

    gone = Fault(ModelStreamError("1011", "gone"), when=AfterMessages(2))
    async with LocalEndpoint(model=patient, faults=[gone]) as endpoint:
        session = transport(endpoint, max_retries=0)
        await session.send("one")
        await until(lambda: endpoint.legs and endpoint.legs[0].messages_in == 1)
        await session.send("two")
        await asyncio.wait_for(over.wait(), PATIENCE)
        await session.close()
    assert outcome[0] == "one"
    assert isinstance(outcome[1], ConnectionError)


async def test_a_model_that_sends_much_waits_for_the_client():
    total, sent = 400, 0

    async def talkative(stream):
        nonlocal sent
        for _ in range(total):
            await stream.send(bytes(200_000))
            sent += 1
        # Until the client has had enough.
        async for _ in stream:
            pass

    async with LocalEndpoint(model=talkative) as endpoint:
        session = transport(endpoint, "wss://localhost/v1/other")
        await session.send("go on")
        await asyncio.wait_for(session.recv(), PATIENCE)
        await asyncio.sleep(0.3)
        assert sent < total, "80 MB are beyond every buffer"
        for _ in range(total - 1):
            assert len(await asyncio.wait_for(session.recv(), PATIENCE)) == 200_000
        await session.close()
    assert sent == total


async def test_leaving_cancels_the_models():
    cancelled = []

    async def endless(stream):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(stream.path)
            raise

    async with LocalEndpoint(model=endless) as endpoint:
        session = transport(endpoint, max_retries=0)
        await session.send("hello")
        await until(lambda: endpoint.stats.accepted == 1)
        await asyncio.sleep(0.05)
    await session.close()
    assert cancelled == ["v1/listen"]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("model of leg")]


def test_the_authority_s_certificate_is_written_where_asked(tmp_path):
    wanted = tmp_path / "ca.pem"
    with LocalEndpoint(ca_bundle=wanted) as endpoint:
        assert endpoint.ca_bundle == str(wanted)
        assert wanted.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        # Line ends of Windows, made twice, keep OpenSSL from reading it beside another one.
        assert b"\r\r" not in wanted.read_bytes()
    assert wanted.exists()
    with LocalEndpoint() as endpoint:
        temporary = Path(endpoint.ca_bundle)
        assert temporary.exists()
    assert not temporary.exists()


def test_the_certificate_stands_up_to_a_strict_check():
    with LocalEndpoint() as endpoint:
        context = ssl.create_default_context(cafile=endpoint.ca_bundle)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["h2"])
        for name in ("localhost", "127.0.0.1", "runtime.sagemaker.us-east-1.amazonaws.com"):
            with (
                socket.create_connection(("127.0.0.1", endpoint.port)) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                assert secured.selected_alpn_protocol() == "h2"


async def test_another_identity():
    async with LocalEndpoint() as endpoint:
        before = endpoint.config(max_retries=0)
        endpoint.accept(Credentials(access_key_id="AKIDNEW", secret_access_key="new"))
        assert await listen(endpoint, range(3)) == [0, 1, 2]
        session = SageMakerTransportFactory(config=before)(LISTEN, {})
        await session.send(b"audio")
        with pytest.raises(errors.AuthenticationError):
            await asyncio.wait_for(session.recv(), PATIENCE)
        await session.close()
        assert endpoint.stats.request_signature_failures == 1
        keys = endpoint.boto3_session().get_credentials().get_frozen_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == ("AKIDNEW", "new", None)


async def test_an_endpoint_in_several_regions():
    regions = ["eu-west-1", "us-west-2"]
    async with LocalEndpoint(region=regions) as endpoint:
        assert endpoint.region == endpoint.config().region == "eu-west-1"
        for region in regions:
            session = transport(endpoint, region=region)
            await session.open()
            await session.close()
        elsewhere = transport(endpoint, region="us-east-1", max_retries=0)
        with pytest.raises(errors.AuthenticationError, match="us-east-1"):
            await elsewhere.open()
        await elsewhere.close()


async def test_nothing_is_kept_of_what_nobody_known_has_signed():
    async with LocalEndpoint() as endpoint:
        stranger = endpoint.config(
            max_retries=0,
            boto3_session=boto3.Session(aws_access_key_id="AKID", aws_secret_access_key="guess"),
        )
        factory = SageMakerTransportFactory(config=stranger)
        for number in range(20):
            session = factory(f"{LISTEN}&tag={number}", {})
            with pytest.raises(errors.AuthenticationError):
                await session.recv()
            await session.close()
        assert endpoint.legs == []
        stats = endpoint.stats
        assert (stats.opens, stats.refused, stats.request_signature_failures) == (20, 20, 20)
        assert await listen(endpoint, range(3)) == [0, 1, 2]
        (leg,) = endpoint.legs
        assert leg.number == 1


OWN = Credentials(access_key_id="AKIDOWN", secret_access_key="its-own")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_where_others_reach_it_an_endpoint_wants_keys_of_its_own(host):
    everybody_s = Credentials(access_key_id="AKIDOTHER")
    for keys in (None, Credentials(), everybody_s, [OWN, everybody_s], [Credentials(), OWN]):
        with pytest.raises(ValueError, match="needs credentials of its own"):
            LocalEndpoint(host=host, credentials=keys)
    LocalEndpoint(host=host, credentials=OWN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_on_loopback_the_default_keys_will_do(host):
    LocalEndpoint(host=host)


async def test_the_default_keys_are_not_accepted_later_where_others_reach_it():
    async with LocalEndpoint(host="0.0.0.0", credentials=OWN) as endpoint:
        with pytest.raises(ValueError, match="needs credentials of its own"):
            endpoint.accept(OWN, Credentials())
        assert endpoint.credentials == OWN
        assert await listen(endpoint, range(3)) == [0, 1, 2]


async def test_an_endpoint_can_run_again_but_not_twice_at_once():
    endpoint = LocalEndpoint()
    for _ in range(2):
        async with endpoint:
            assert await listen(endpoint, range(3)) == [0, 1, 2]
            with pytest.raises(RuntimeError, match="already running"):
                await endpoint.__aenter__()
    with pytest.raises(RuntimeError, match="not running"):
        _ = endpoint.uri


async def test_refused_connections_come_back():
    async with LocalEndpoint() as endpoint:
        assert await listen(endpoint, range(3)) == [0, 1, 2]
        endpoint.refuse_connections(2.0)
        await until(lambda: is_refused(endpoint.port))
        await until(lambda: not is_refused(endpoint.port))
        assert await listen(endpoint, range(3)) == [0, 1, 2]


def test_without_an_event_loop_the_models_get_one():
    threads = []

    async def model(stream):
        threads.append(threading.current_thread())
        async for message in stream:
            await stream.send(message)

    async def talk(endpoint):
        session = transport(endpoint, "wss://localhost/v1/other")
        await session.send("hello")
        assert await asyncio.wait_for(session.recv(), PATIENCE) == "hello"
        await session.close()

    with LocalEndpoint(model=model) as endpoint:
        asyncio.run(talk(endpoint))
    assert threads[0] is not threading.main_thread()
    assert not threads[0].is_alive()


def test_what_keeps_it_from_starting_is_raised():
    with LocalEndpoint() as endpoint, pytest.raises(OSError, match="can't listen"):
        LocalEndpoint(port=endpoint.port).__enter__()
    with pytest.raises(ValueError, match="not an IP address"):
        LocalEndpoint(host="localhost").__enter__()
    with pytest.raises(ValueError, match="model is"):
        LocalEndpoint(model="nova")


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"endpoint_name": []}, r"endpoint_name=\[\]: must be a name, or several"),
        ({"region": []}, r"region=\[\]: must be a region, or several"),
        ({"port": 99999}, "port=99999: must be from 0 to 65535"),
        ({"port": -1}, "port=-1: must be"),
        ({"port": "8443"}, "port='8443': must be"),
        ({"max_stream_age": 0}, "max_stream_age=0: must be"),
        ({"max_stream_age": float("nan")}, "max_stream_age=nan: must be"),
        ({"max_streams": 0}, "max_streams=0: must be"),
        ({"max_streams": 1.5}, "max_streams=1.5: must be"),
        ({"max_concurrent_streams": 0}, "max_concurrent_streams=0: must be"),
        ({"max_concurrent_streams": 2**32}, "max_concurrent_streams=4294967296: must be"),
    ],
)
def test_settings_have_rules(wrong, rule):
    with pytest.raises(ValueError, match=rule):
        LocalEndpoint(**wrong)


# What a container refuses, by the model that stands for it.
REFUSED = [
    ("watermark", "v1/listen?model=nova-3&langauge=en", "langauge: "),
    ("watermark", "v1/listen?encoding=linear16", "sample_rate: "),
    ("watermark", "v2/listen?model=flux-general-en&eot_threshold=0.2", "eot_threshold=0.2: "),
    ("watermark", "v1/speak?model=aura-2-nobody-en", "model=aura-2-nobody-en: "),
    ("watermark", "v2/speak?model=flux-haley-en&container=wav", "container=wav: "),
    ("watermark", "v1/agent/converse?model=nova-3", "model: "),
    ("watermark", "v9/nothing", "NOT_FOUND: no such path: v9/nothing"),
    (SpeechModel(lambda samples: ""), "v1/listen?encoding=linear17", "encoding=linear17: "),
    (SpeechModel(lambda samples: ""), "v9/nothing", "NOT_FOUND"),
    (WatermarkFlux(), "v1/listen?model=nova-3", "this container serves v2/listen"),
    (WatermarkAura(), "v1/listen?model=nova-3", "this container serves v1/speak, v2/speak"),
    (WatermarkAgent(), "v2/listen?model=flux-general-en", "serves v1/agent/converse"),
]


@pytest.mark.parametrize(("model", "url", "words"), REFUSED)
async def test_what_a_container_refuses_is_424_and_its_words_are_in_the_log(
    caplog, model, url, words
):
    async with LocalEndpoint(model=model) as endpoint:
        session = transport(endpoint, f"wss://localhost/{url}", max_retries=0)
        began = time.monotonic()
        with pytest.raises(errors.ModelError) as caught:
            await asyncio.wait_for(session.recv(), PATIENCE)
        took = time.monotonic() - began
        await session.close()
        (leg,) = endpoint.legs
        assert endpoint.stats.accepted == 0
    assert caught.value.status == 424
    assert took > 0.2
    assert (leg.status, leg.end) == (424, "refused")
    assert words in leg.refusal
    assert words not in str(caught.value)
    assert any(leg.refusal in record.getMessage() for record in caplog.records)


THROTTLED = Answer(429, error_type="ThrottlingException", message="Rate exceeded")


@pytest.mark.parametrize(
    ("answer", "kind"), [(None, errors.ModelError), (THROTTLED, errors.ThrottledError)]
)
async def test_an_endpoint_has_room_for_as_many_streams_as_it_is_told(answer, kind):
    async with LocalEndpoint(max_streams=2, at_max_streams=answer) as endpoint:
        first, second = (transport(endpoint) for _ in range(2))
        for session in (first, second):
            await session.send(chunk(0, 640))
        await until(lambda: endpoint.stats.accepted == 2)
        third = transport(endpoint, max_retries=0)
        with pytest.raises(kind):
            await asyncio.wait_for(third.recv(), PATIENCE)
        await third.close()
        assert (endpoint.stats.refused, endpoint.stats.most_live_streams) == (1, 2)
        await first.close()
        await until(lambda: endpoint.stats.live_streams == 1)
        assert await listen(endpoint, range(3)) == [0, 1, 2]
        assert endpoint.stats.most_live_streams == 2
        await second.close()


def test_only_an_answer_says_that_there_is_no_room():
    with (
        pytest.raises(ValueError, match="can only be answered"),
        LocalEndpoint(at_max_streams=Reset()),
    ):
        pass


async def test_a_lenient_container_takes_what_its_model_takes(caplog):
    async with LocalEndpoint(lenient=True) as endpoint:
        session = transport(endpoint, "wss://localhost/v1/listen?langauge=en&encoding=linear17")
        await session.send('{"type": "CloseStream"}')
        assert json.loads(await asyncio.wait_for(session.recv(), PATIENCE))["type"] == "Metadata"
        await session.close()
        assert endpoint.legs[0].refusal == ""
    async with LocalEndpoint(model=WatermarkFlux(), lenient=True) as endpoint:
        session = transport(endpoint, "wss://localhost/v2/listen?eot_threshold=0.2", max_retries=0)
        with pytest.raises(errors.ModelError, match=r"eot_threshold=0\.2: must be from"):
            await asyncio.wait_for(session.recv(), PATIENCE)
        await session.close()


@pytest.mark.parametrize("lenient", [None, False])
async def test_a_function_of_one_s_own_is_another_container_unless_it_is_said(lenient):
    async def echo(stream):
        async for message in stream:
            await stream.send(message)

    async with LocalEndpoint(model=echo, lenient=lenient) as endpoint:
        for url in ("v1/other?x=1", "v1/listen?x=1"):
            # An echo has no word for the end.
            session = transport(
                endpoint, f"wss://localhost/{url}", max_retries=0, close_timeout=0.5
            )
            await session.send("hello")
            if lenient is None:
                assert await asyncio.wait_for(session.recv(), PATIENCE) == "hello"
            else:
                with pytest.raises(errors.ModelError, match="424"):
                    await asyncio.wait_for(session.recv(), PATIENCE)
            await session.close()


@pytest.mark.parametrize("path", DEEPGRAM_PATHS[:4])
async def test_a_model_reads_control_from_a_binary_frame(path):
    # Of a type that the client does not know, or it would send it as text.
    heard = []

    async def listens(stream):
        heard.extend([message async for message in stream])

    async with LocalEndpoint(model=listens) as endpoint:
        # This model ends nothing by itself.
        session = transport(endpoint, f"wss://localhost/{path}", close_timeout=0.5)
        for message in (b'{"type":"Novelty"}', b"{audio"):
            await session.send(message)
        await until(lambda: endpoint.legs and endpoint.legs[0].messages_in == 2)
        assert endpoint.legs[0].controls == ("Novelty",)
        await session.close()
        await until(lambda: heard)
    assert heard[:2] == ['{"type":"Novelty"}', b"{audio"]


async def test_a_native_server_that_stopped_says_so():
    async with LocalEndpoint() as endpoint:
        native = endpoint._running.native
    with pytest.raises(RuntimeError, match="has stopped"):
        native.counters()


def test_only_the_models_by_name_are_strict():
    async def own(stream):
        pass

    LocalEndpoint(model=Watermark(), strict_flux=True)
    with pytest.raises(ValueError, match="strict_flux"):
        LocalEndpoint(model=own, strict_flux=True)
