"""The conversations of `tests/e2e`, through a gateway in place of a transport factory."""

import contextlib
from contextvars import ContextVar

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram_sagemaker.gateway import Gateway
from e2e import agents, flux, survival, voices

_gateway: ContextVar[Gateway] = ContextVar("gateway")


def environment(gateway):
    """Where Deepgram's SDK finds a gateway in place of Deepgram."""
    rest = gateway.url.replace("ws", "http", 1)
    return DeepgramClientEnvironment(
        base=rest, production=gateway.url, agent=gateway.url, agent_rest=rest
    )


def client_of(config):
    """Deepgram's own client, without a transport factory, and what has the statistics."""
    gateway = _gateway.get()
    return AsyncDeepgramClient(api_key="unused", environment=environment(gateway)), gateway


@pytest.fixture
def sdk_as_it_is(monkeypatch):
    """Has the conversations of `tests/e2e` made with clients that know nothing of SageMaker."""
    for module in (survival, flux, voices, agents):
        monkeypatch.setattr(module, "client_of", client_of)


@contextlib.asynccontextmanager
async def through_gateway(config, **settings):
    """A gateway that this task's clients connect to."""
    async with Gateway(config=config, port=0, **settings) as gateway:
        token = _gateway.set(gateway)
        try:
            yield gateway
        finally:
            _gateway.reset(token)
