"""The gateway with TLS of its own."""

import asyncio
import ssl
from pathlib import Path

import pytest
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local import LocalEndpoint
from gateway.clients import Raw, converse, gateway_to, numbers_in
from sessions import until

# A certificate for 127.0.0.1, and its key.
PEM = Path(__file__).parents[1] / "e2e/hostile.pem"


def trusting():
    return ssl.create_default_context(cafile=PEM)


async def test_audio_passes_over_tls():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, tls=(PEM, PEM)) as gateway:
        assert gateway.url.startswith("wss://127.0.0.1:")
        heard = await asyncio.gather(*(converse(gateway, 50, ssl=trusting()) for _ in range(3)))
        assert [numbers_in(each) for each in heard] == [list(range(50))] * 3


async def test_who_does_not_speak_tls_is_closed():
    tls = {"tls": (PEM, PEM), "head_timeout": 0.5}
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, **tls) as gateway:
        plain = await Raw.open(gateway)
        cut = Raw(*await asyncio.open_connection(*gateway.address))
        await cut.write(b"\x16\3\1")
        silent = Raw(*await asyncio.open_connection(*gateway.address))
        async with asyncio.timeout(5):
            for each in (plain, cut, silent):
                assert not (await each.reader.read()).startswith(b"HTTP")
                await each.leave()
        await until(lambda: gateway.counts["connections"] == 0)
        assert gateway.counts["connections_unheard"] == 3
        assert numbers_in(await converse(gateway, 5, ssl=trusting())) == list(range(5))


async def test_certificates_that_cannot_be_used_are_said(tmp_path):
    async with LocalEndpoint() as endpoint:

        async def enter(certificate, key):
            async with Gateway(config=endpoint.config(), port=0, tls=(certificate, key)):
                pytest.fail("it listens")

        empty = tmp_path / "empty.pem"
        empty.write_text("")
        other = PEM.parent / "certificates/own.pem"
        for certificate, key in ((empty, PEM), (PEM, empty), (PEM, other)):
            with pytest.raises(ValueError, match="certificate"):
                await enter(certificate, key)
        with pytest.raises(FileNotFoundError):
            await enter(tmp_path / "none.pem", PEM)


async def test_an_address_that_is_taken_is_said():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        port = gateway.address[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            async with Gateway(config=endpoint.config(), port=port):
                pytest.fail("it listens")
        # With the same wish it is shared.
    async with (
        LocalEndpoint() as endpoint,
        gateway_to(endpoint, reuse_port=True) as one,
        Gateway(config=endpoint.config(), port=one.address[1], reuse_port=True) as other,
    ):
        heard = await asyncio.gather(*(converse(one, 5) for _ in range(20)))
        assert [numbers_in(each) for each in heard] == [list(range(5))] * 20
        assert one.counts["conversations_begun"] + other.counts["conversations_begun"] == 20
