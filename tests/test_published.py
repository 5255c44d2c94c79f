"""The previous release, 0.4.0, beside ours: code written for it still works."""

import asyncio
import inspect
import json
import logging
import math
import subprocess
from pathlib import Path

import deepgram_sagemaker
import pytest
from deepgram_sagemaker import (
    SageMakerConfig,
    SageMakerTransport,
    SageMakerTransportFactory,
    config,
)
from deepgram_sagemaker import transport as transport_module
from deepgram_sagemaker.errors import SessionClosedError
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterReplies, Reset
from sessions import LISTEN_URL, client_of, session

PEER = Path(__file__).parents[1] / ".venv-peer" / "bin" / "python"

SURFACE = """
import inspect, json, sys
import deepgram_sagemaker
from deepgram_sagemaker import config, transport

def parameters(function):
    return [
        [each.name, each.kind.name, None if each.default is each.empty else each.default]
        for each in inspect.signature(function).parameters.values()
    ]

def public(names):
    return sorted(name for name in names if not name.startswith("_"))

configured = config.SageMakerConfig("ep", "eu-west-1")
made = transport.SageMakerTransport(configured, "v1/listen", "model=nova-3")
factory = transport.SageMakerTransportFactory("ep", "eu-west-1")
classes = {
    "SageMakerConfig": config.SageMakerConfig,
    "SageMakerTransport": transport.SageMakerTransport,
    "SageMakerTransportFactory": transport.SageMakerTransportFactory,
}
mine = lambda module: public(
    name
    for name, value in vars(module).items()
    if getattr(value, "__module__", module.__name__).startswith("deepgram_sagemaker")
    and not inspect.ismodule(value)
)
print(json.dumps({
    "all": sorted(deepgram_sagemaker.__all__),
    "modules": sorted(
        name for name, each in vars(deepgram_sagemaker).items() if inspect.ismodule(each)
    ),
    "names": {"config": mine(config), "transport": mine(transport)},
    "defaults": {name: getattr(config, name) for name in mine(config) if name.isupper()},
    "signatures": {name: parameters(cls) for name, cls in classes.items()},
    "calls": {
        f"{name}.{method}": parameters(getattr(cls, method))
        for name, cls in classes.items()
        for method in [*public(vars(cls)), "__call__", "__aiter__"]
        if callable(getattr(cls, method, None))
    },
    "attributes": {
        "SageMakerConfig": public(dir(configured)),
        "SageMakerTransport": public(dir(made)),
        "SageMakerTransportFactory": public(dir(factory)),
    },
    "values": {
        f"{type(each).__name__}.{name}": getattr(each, name)
        for each in (configured, made, factory)
        for name in public(dir(each))
        if isinstance(getattr(each, name), str | int | float)
    },
    "logger": transport.logger.name,
}))
"""

GONE = {"classify", "compute_backoff"}
"""Helpers of its insides that had public names: docs/moving-from-0.4.0.md says so."""


@pytest.fixture(scope="module")
def published():
    """Returns what a script finds in the published release."""
    if not PEER.exists():
        pytest.skip(".venv-peer is missing: make .venv-peer/.ready")
    # Isolated, because our package is on the path of the process that runs the tests.
    run = subprocess.run(
        [PEER, "-I", "-W", "ignore", "-c", SURFACE], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def ours():
    """Returns the same of this release, in this process."""
    said = []
    exec(SURFACE, {"print": said.append})
    return json.loads(said[0])


def test_every_name_is_where_it_was(published, ours):
    assert set(published["all"]) <= set(ours["all"])
    for module in published["modules"]:
        assert inspect.ismodule(getattr(deepgram_sagemaker, module))
    for module, names in published["names"].items():
        there = vars(transport_module if module == "transport" else config)
        # A removed name is missing: another object under it would fail later and less clearly.
        assert {name for name in names if name not in there} == GONE & set(names)
    assert published["logger"] == ours["logger"] == "deepgram_sagemaker.transport"
    assert len(published["defaults"]) == 10
    assert published["defaults"].items() <= ours["defaults"].items()


def test_every_argument_is_what_it_was(published, ours):
    for name, before in published["signatures"].items():
        assert ours["signatures"][name][: len(before)] == before
        # New names have to be listed.
        assert {kind for _, kind, _ in ours["signatures"][name][len(before) :]} <= {"KEYWORD_ONLY"}
    for name, before in published["calls"].items():
        now = ours["calls"][name]
        assert [(each[0], each[1]) for each in now[: len(before)]] == [
            (each[0], each[1]) for each in before
        ]


def test_every_attribute_is_there_and_says_the_same(published, ours):
    for name, before in published["attributes"].items():
        assert set(before) <= set(ours["attributes"][name])
    for name, value in published["values"].items():
        assert ours["values"][name] == value


async def test_a_send_after_close_is_a_runtime_error():
    transport = SageMakerTransport(SageMakerConfig("ep"), "v1/listen", "model=nova-3")
    await transport.close()
    with pytest.raises(RuntimeError) as caught:
        await transport.send(b"late")
    assert type(caught.value) is SessionClosedError


ENDLESS = (
    "connection_timeout",
    "connection_acquire_timeout",
    "subscription_timeout",
    "max_backoff",
    "retry_budget",
)


async def test_a_time_may_be_infinite():
    """Without limit, as it was: through a reset, so that each of them is used."""
    faults = [Fault(Reset(), when=AfterReplies(1))]
    async with LocalEndpoint(faults=faults) as endpoint:
        settings = dict.fromkeys(ENDLESS, math.inf) | {"backoff_multiplier": math.inf}
        # A retry in an endless backoff would count as well: the first is within the initial one.
        heard = await session(client_of(endpoint.config(**settings)), 50)
        assert heard.numbers == list(range(50))
        assert heard.errors == []
        assert endpoint.stats.accepted == 2


async def test_a_count_may_be_a_whole_float():
    config = SageMakerConfig("ep", max_retries=3.0, max_replay_buffer_bytes=16e6)
    assert (config.max_retries, config.max_replay_buffer_bytes) == (3, 16_000_000)
    assert type(config.max_retries) is type(config.max_replay_buffer_bytes) is int


async def test_a_fragment_is_left_out(caplog):
    transport = SageMakerTransportFactory("ep")(f"{LISTEN_URL}#fragment", {})
    assert transport.query_string == LISTEN_URL.partition("?")[2]
    assert "left out" in caplog.text
    assert "fragment" not in caplog.text


async def test_what_a_session_says_is_heard_on_the_loggers_old_name(caplog):
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    logger = logging.getLogger("deepgram_sagemaker.transport")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "deepgram_sagemaker"):
            faults = [Fault(Reset(), when=AfterReplies(1))]
            async with LocalEndpoint(faults=faults) as endpoint:
                await session(client_of(endpoint.config()), 50)
    finally:
        logger.removeHandler(handler)
    assert any("ended" in record.getMessage() for record in said)
    # A handler of the whole package still gets it.
    assert set(said) <= set(caplog.records)


def test_importing_the_package_gives_its_modules():
    assert deepgram_sagemaker.transport.SageMakerTransportFactory is SageMakerTransportFactory
    assert SageMakerConfig("ep").max_retries == deepgram_sagemaker.config.DEFAULT_MAX_RETRIES
    assert asyncio.iscoroutinefunction(SageMakerTransport.send)
