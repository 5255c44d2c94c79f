"""The factory: how it is made, what the SDK gets from it, and the uses that are refused."""

import asyncio
import copy
import inspect
import logging
import pickle

import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.transport_interface import AsyncTransport
from deepgram_sagemaker import SageMakerConfig, SageMakerTransport, SageMakerTransportFactory
from deepgram_sagemaker.errors import AcquireTimeoutError, ValidationError
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import WatermarkAura, numbers_in
from sessions import LISTEN, LISTEN_URL, Heard, session


def test_forms_of_construction():
    config = SageMakerConfig("ep", "eu-west-1", max_concurrency=3)
    for factory in (
        SageMakerTransportFactory("ep", "eu-west-1"),
        SageMakerTransportFactory("ep", region="eu-west-1"),
        SageMakerTransportFactory(endpoint_name="ep", region="eu-west-1"),
        SageMakerTransportFactory(config=config),
    ):
        assert (factory.endpoint_name, factory.region) == ("ep", "eu-west-1")
        assert factory.config.endpoint_name == "ep"
    assert SageMakerTransportFactory(config=config).config is config
    assert SageMakerTransportFactory("ep").region == SageMakerConfig("ep").region


@pytest.mark.parametrize(
    "arguments",
    [{"endpoint_name": "ep"}, {"region": "eu-west-1"}, {"endpoint_name": "", "region": ""}],
)
def test_a_config_and_the_two_do_not_go_together(arguments):
    with pytest.raises(ValueError, match=r"give either config= alone, or endpoint_name= and"):
        SageMakerTransportFactory(config=SageMakerConfig("ep"), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"endpoint_name": "ep"}, {"region": "eu-west-1"}, {"config": SageMakerConfig("ep")}],
)
def test_routes_do_not_go_together_with_anything(arguments):
    with pytest.raises(ValueError, match=r"give either routes= alone, or config= alone, or"):
        SageMakerTransportFactory(routes={"v1/listen": SageMakerConfig("ep")}, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"region": "eu-west-1"}])
def test_an_endpoint_is_needed(arguments):
    with pytest.raises(TypeError, match=r"give endpoint_name= \(and region=\), or config=, or r"):
        SageMakerTransportFactory(**arguments)


def test_what_is_no_config_is_refused():
    with pytest.raises(TypeError, match=r"config= takes a SageMakerConfig, not dict"):
        SageMakerTransportFactory(config={"endpoint_name": "ep"})


CONFIG = SageMakerConfig("ep")


@pytest.mark.parametrize(
    ("routes", "error", "match"),
    [
        ([("v1/listen", CONFIG)], TypeError, r"routes= takes a mapping .*, not list"),
        ({}, ValueError, r"routes= is empty"),
        ({"v1/listen": "ep"}, TypeError, r"routes\['v1/listen'\] takes a SageMakerConfig, not str"),
        ({1: CONFIG}, TypeError, r"paths as str, not int"),
        ({"": CONFIG}, ValidationError, r"no path"),
        ({"v1/listen?model=nova-3": CONFIG}, ValidationError, r"path='v1/listen\?model"),
        ({"v1/listen": CONFIG, "/v1/listen": CONFIG}, ValueError, r"'v1/listen' twice"),
    ],
)
def test_what_are_no_routes_is_refused(routes, error, match):
    with pytest.raises(error, match=match):
        SageMakerTransportFactory(routes=routes)


def test_routes_are_shown_and_have_no_single_config():
    routes = {"/v1/listen": CONFIG, "v1/speak": SageMakerConfig("other")}
    factory = SageMakerTransportFactory(routes=routes)
    assert factory.routes == {"v1/listen": CONFIG, "v1/speak": SageMakerConfig("other")}
    for name in ("config", "endpoint_name", "region"):
        with pytest.raises(AttributeError, match="see routes"):
            getattr(factory, name)
    with pytest.raises(TypeError):
        factory.routes["v2/listen"] = CONFIG
    routes.clear()
    assert len(factory.routes) == 2
    assert SageMakerTransportFactory("ep").routes == {}


def test_a_bad_name_or_region_is_refused_at_once():
    with pytest.raises(ValidationError, match=r"endpoint_name='no_such'"):
        SageMakerTransportFactory("no_such")
    with pytest.raises(ValidationError, match=r"region='Mars'"):
        SageMakerTransportFactory("ep", "Mars")


def test_properties_are_read_only():
    factory = SageMakerTransportFactory("ep")
    for name in ("config", "endpoint_name", "region", "routes", "stats"):
        with pytest.raises(AttributeError):
            setattr(factory, name, None)


def test_outside_a_loop_it_says_async_only():
    factory = SageMakerTransportFactory("ep")
    with pytest.raises(TypeError, match="async-only"):
        factory(LISTEN_URL, {})


async def test_for_a_sync_client_it_says_async_only():
    client = DeepgramClient(api_key="unused", transport_factory=SageMakerTransportFactory("ep"))
    with (
        pytest.raises(TypeError, match="async-only"),
        client.listen.v1.connect(**LISTEN) as connection,
    ):
        connection.send_media(b"never sent")


async def test_an_async_client_connects_after_a_sync_one_was_made():
    factory = SageMakerTransportFactory("ep")
    wrong = DeepgramClient(api_key="unused", transport_factory=factory)
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    async with client.listen.v1.connect(**LISTEN):
        with pytest.raises(TypeError, match="async-only"), wrong.listen.v1.connect(**LISTEN):
            pass


def test_a_sync_client_without_a_loop_gets_the_same():
    client = DeepgramClient(api_key="unused", transport_factory=SageMakerTransportFactory("ep"))
    with pytest.raises(TypeError, match="async-only"), client.listen.v1.connect(**LISTEN):
        pass


async def test_what_it_makes_is_the_sdks_async_transport():
    transport = SageMakerTransportFactory("ep", "eu-west-1")(LISTEN_URL, {"Authorization": "x"})
    assert isinstance(transport, SageMakerTransport)
    assert isinstance(transport, AsyncTransport)
    for name in ("send", "recv", "close"):
        assert inspect.iscoroutinefunction(getattr(transport, name))
    assert transport.endpoint_name == "ep"
    assert transport.region == "eu-west-1"
    assert transport.invocation_path == "v1/listen"
    assert transport.query_string == "model=nova-3&encoding=linear16&sample_rate=16000"
    await transport.close()


async def test_headers_may_be_left_out_and_the_url_given_by_name():
    factory = SageMakerTransportFactory("ep")
    assert factory(LISTEN_URL).invocation_path == "v1/listen"
    assert factory(url=LISTEN_URL, headers={}).invocation_path == "v1/listen"


async def test_a_transport_by_position_and_by_name():
    config = SageMakerConfig("ep", "eu-west-1")
    by_position = SageMakerTransport(config, "v2/listen", "model=flux-general-en")
    by_name = SageMakerTransport(
        config=config, invocation_path="v2/listen", query_string="model=flux-general-en"
    )
    for transport in (by_position, by_name):
        assert transport.endpoint_name == "ep"
        assert transport.region == "eu-west-1"
        assert transport.invocation_path == "v2/listen"
        assert transport.query_string == "model=flux-general-en"


async def test_a_query_over_the_limit_is_refused_before_anything_is_sent():
    factory = SageMakerTransportFactory("ep")
    keyterms = "&".join(f"keyterm=word{number}" for number in range(200))
    with pytest.raises(ValidationError, match=r"2048"):
        factory(f"{LISTEN_URL}&{keyterms}", {})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"keyterm": ["red panda"]}, "keyterm=red%20panda"),
        ({"keyterm": ["c++"]}, "keyterm=c%2B%2B"),
        ({"keyterm": ["one", "two"]}, "keyterm=one&keyterm=two"),
        ({"keyterm": ["salt, pepper"]}, "keyterm=salt%2C%20pepper"),
        ({"keyterm": ["Zoë"]}, "keyterm=Zo%C3%AB"),
    ],
)
async def test_a_query_reaches_the_service_in_its_form(given, sent):
    async with LocalEndpoint() as endpoint:
        client = AsyncDeepgramClient(
            api_key="unused", transport_factory=SageMakerTransportFactory(config=endpoint.config())
        )
        heard = await session(client, 10, **given)
        assert heard.numbers == list(range(10))
        (leg,) = endpoint.legs
        assert leg.path == "v1/listen"
        assert leg.query.endswith(f"&{sent}") or f"&{sent}&" in leg.query


@pytest.mark.parametrize(
    ("url_query", "sent"),
    [
        ("keyterm=a+b&model=nova-3", "keyterm=a%20b&model=nova-3"),
        ("tag=a,b&model=nova-3", "tag=a%2Cb&model=nova-3"),
        ("model=nova-3&tag=", "model=nova-3"),
        ("model=nova-3&tag", "model=nova-3"),
    ],
)
async def test_a_raw_url_reaches_the_service_in_its_form(url_query, sent):
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        transport = factory(f"wss://anywhere.invalid/v1/listen?{url_query}", {})
        await transport.send({"type": "CloseStream"})
        while await transport.recv() is not None:
            pass
        await transport.close()
        (leg,) = endpoint.legs
        assert (leg.status, leg.query) == (200, sent)
        assert leg.controls == ("CloseStream",)


async def test_sessions_of_one_factory_are_counted_together():
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        assert factory.stats.sessions == 0
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        await asyncio.gather(session(client, 20), session(client, 30))
        assert factory.stats.sessions == 2
        assert factory.stats.legs == 2
        # 50 chunks and two CloseStreams.
        assert factory.stats.messages_in == 52
        assert factory.stats.journal_bytes == 0


async def test_each_path_has_its_endpoint():
    """One client, two endpoints: Nova's hears, Aura's speaks, and the figures are summed."""
    async with LocalEndpoint("nova") as nova, LocalEndpoint("aura", WatermarkAura()) as aura:
        factory = SageMakerTransportFactory(
            routes={"v1/listen": nova.config(), "v1/speak": aura.config()}
        )
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        heard = await session(client, 20)
        assert heard.numbers == list(range(20))
        async with client.speak.v1.connect(model="aura-2-thalia-en") as connection:
            await connection.send_text(SpeakV1Text(type="Speak", text="one two three"))
            await connection.send_flush()
            await connection.send_close()
            audio = b"".join([part async for part in connection if isinstance(part, bytes)])
        assert len(numbers_in(audio)) == 3
        assert [leg.path for leg in nova.legs] == ["v1/listen"]
        assert [leg.path for leg in aura.legs] == ["v1/speak"]
        assert (factory.stats.sessions, factory.stats.legs) == (2, 2)
        with pytest.raises(
            ValidationError,
            match=r"no route for the path 'v2/listen': .* routes are v1/listen, v1/speak",
        ):
            async with client.listen.v2.connect(model="flux-general-en"):
                pass
        assert factory.stats.sessions == 2


async def test_paths_with_the_same_config_share_its_limits():
    async with LocalEndpoint() as endpoint:
        config = endpoint.config(max_concurrency=1, connection_acquire_timeout=0.2, max_retries=0)
        factory = SageMakerTransportFactory(
            routes={"v1/listen": config, "v1/other": config, "v1/speak": endpoint.config()}
        )
        held = factory(LISTEN_URL)
        await held.open()
        waiting = factory("wss://anywhere.invalid/v1/other")
        with pytest.raises(AcquireTimeoutError):
            await waiting.open()
        for transport in (held, waiting):
            await transport.close()


async def test_one_connection_through_the_sdk_gives_every_kind_of_callback():
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        heard = await session(client, 20)
        assert isinstance(heard, Heard)
        assert [type(message).__name__ for message in heard.messages] == [
            "ListenV1Results",
            "ListenV1Results",
            "ListenV1Metadata",
        ]
        assert heard.errors == []
        assert heard.closed == 1


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda factory: pickle.loads(pickle.dumps(factory))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("has_routes", [False, True], ids=["config", "routes"])
async def test_a_used_factory_is_copied_as_an_unused_one(monkeypatch, copied, has_routes):
    async with LocalEndpoint() as endpoint:
        # A session of boto3's cannot be pickled, used or not.
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        config = endpoint.config(boto3_session=None)
        if has_routes:
            factory = SageMakerTransportFactory(routes={"v1/listen": config})
        else:
            factory = SageMakerTransportFactory(config=config)
        transport = factory(LISTEN_URL, {})
        await transport.send({"type": "KeepAlive"})
        other = copied(factory)
        assert (other.routes, other.stats.sessions) == (factory.routes, 0)
        assert has_routes or other.config == factory.config
        assert factory.stats.sessions == 1
        mine = other(LISTEN_URL, {})
        await mine.send({"type": "CloseStream"})
        assert "Metadata" in await mine.recv()
        await mine.close()
        await transport.close()
        assert (other.stats.sessions, factory.stats.sessions) == (1, 1)


async def test_a_transport_is_not_copied():
    """It is one conversation: two owners would end each other's."""
    transport = SageMakerTransportFactory("ep")(LISTEN_URL, {})
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="one conversation"):
            copied(transport)
    await transport.close()


KEY = "5f0c3a9e1b7d48629c0e4f8a2d6b1c7e9a3f5d80"


def warnings_in(caplog):
    return [each for each in caplog.records if each.levelno == logging.WARNING]


async def test_a_client_with_a_key_of_its_own_is_warned_of_once(caplog):
    """It was made without the factory, and its sessions go to SageMaker all the same."""
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        ours = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        await session(ours, 5)
        assert warnings_in(caplog) == []
        theirs = AsyncDeepgramClient(api_key=KEY)
        await session(theirs, 5)
        await session(theirs, 5)
        (warning,) = warnings_in(caplog)
        assert warning.name == "deepgram_sagemaker.transport"
        assert 'a client whose API key is not "unused"' in warning.message
        assert 'api_key="unused"' in warning.message
        assert KEY not in caplog.text
        assert factory.stats.sessions == len(endpoint.legs) == 3


@pytest.mark.parametrize(
    ("headers", "warned"),
    [
        ({"Authorization": f"Bearer {KEY}"}, True),
        ({"authorization": f"Token {KEY}"}, True),
        ({"Authorization": "Token unused"}, False),
        ({"Authorization": "Bearer unused"}, False),
        ({"X-Other": KEY}, False),
        ({}, False),
    ],
)
async def test_whose_headers_are_warned_of(caplog, headers, warned):
    SageMakerTransportFactory("ep")(LISTEN_URL, headers)
    assert len(warnings_in(caplog)) == warned
