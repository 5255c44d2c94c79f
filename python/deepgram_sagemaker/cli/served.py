"""The local endpoint as a separate process, and its protocol with the parent.

The process writes one line of JSON when it is ready, and ends when its standard input ends, so it
cannot outlive its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.conversations.reasons import ConversationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deepgram_sagemaker.local import LocalEndpoint

__all__ = ["Reachable", "endpoint_process"]

_READY_WITHIN = 120.0
_GONE_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Reachable:
    """What a client needs to reach a local endpoint.

    Attributes:
        endpoint_name: Its name.
        region: The region that requests must be signed for.
        endpoint_uri: The URI where it listens.
        ca_bundle: The PEM file of its certificate authority.
        access_key_id: The access key that it accepts.
        secret_access_key: The secret of that key.
    """

    endpoint_name: str
    region: str
    endpoint_uri: str
    ca_bundle: str
    access_key_id: str
    secret_access_key: str

    @classmethod
    def of(cls, endpoint: LocalEndpoint) -> Reachable:
        """Return how to reach an endpoint of this process."""
        config = endpoint.config()
        return cls(
            config.endpoint_name,
            config.region,
            endpoint.uri,
            str(Path(endpoint.ca_bundle).absolute()),
            endpoint.credentials.access_key_id,
            endpoint.credentials.secret_access_key,
        )

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    def config(self) -> SageMakerConfig:
        """Return a configuration that reaches it."""
        return SageMakerConfig(
            self.endpoint_name,
            self.region,
            endpoint_uri=self.endpoint_uri,
            ca_bundle=self.ca_bundle,
            # No proxy, because the endpoint is on this machine.
            proxy="",
            boto3_session=boto3.Session(
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
                region_name=self.region,
            ),
        )


@asynccontextmanager
async def endpoint_process(model: str = "speech") -> AsyncIterator[Reachable]:
    """Run `deepgram-sagemaker local` beside this process.

    The recogniser runs in its own interpreter, so that this process measures the client alone.

    Args:
        model: The endpoint's model.

    Raises:
        ConversationError: It did not start; its standard error says why.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deepgram_sagemaker.cli",
        *("local", "--model", model, "--port", "0", "--json", "--stop-with-stdin"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - likewise
    try:
        try:
            async with asyncio.timeout(_READY_WITHIN):
                ready = await process.stdout.readline()
        except TimeoutError:
            raise ConversationError(
                f"the local endpoint did not start within {_READY_WITHIN:g} s"
            ) from None
        if not ready:
            raise ConversationError("the local endpoint did not start")
        yield Reachable(**json.loads(ready))
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_GONE_WITHIN):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
