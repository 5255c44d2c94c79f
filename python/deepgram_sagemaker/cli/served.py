"""The local endpoint as a process of its own, and what the two say to each other.

The process writes one line of JSON when it is ready, and ends when its standard input does: it
cannot outlive the one that started it.
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deepgram_sagemaker.local import LocalEndpoint

__all__ = ["Reachable", "endpoint_process"]

_READY_WITHIN = 120.0
_GONE_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Reachable:
    """All that a client needs in order to reach a local endpoint.

    Attributes:
        endpoint_name: its name.
        region: the region that requests are to be signed for.
        endpoint_uri: where it listens.
        ca_bundle: the file with its certificate authority.
        access_key_id: whose requests it accepts.
        secret_access_key: with which secret.
    """

    endpoint_name: str
    region: str
    endpoint_uri: str
    ca_bundle: str
    access_key_id: str
    secret_access_key: str

    @classmethod
    def of(cls, endpoint: LocalEndpoint) -> Reachable:
        """What this process's own endpoint has to tell."""
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
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    def config(self) -> SageMakerConfig:
        """The configuration that reaches it."""
        return SageMakerConfig(
            self.endpoint_name,
            self.region,
            endpoint_uri=self.endpoint_uri,
            ca_bundle=self.ca_bundle,
            # An empty string: whatever proxy the environment names, this is on the same machine.
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

    Its recogniser has a whole interpreter to itself, and what is measured here is the client.

    Args:
        model: what answers.

    Raises:
        RuntimeError: it did not start; what it had to say is on standard error.
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
        async with asyncio.timeout(_READY_WITHIN):
            ready = await process.stdout.readline()
        if not ready:
            raise RuntimeError("the local endpoint did not start")
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
