"""Local endpoints in processes of their own: no loop, thread or engine is shared with a test."""

import asyncio
import multiprocessing
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import boto3
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.local import EndpointStats, LocalEndpoint


@dataclass
class Elsewhere:
    """An endpoint in another process."""

    uri: str
    ca_bundle: str
    access_key_id: str
    secret_access_key: str
    pipe: Connection

    def config(self, **overrides):
        """Settings of a transport that reaches it."""
        fields = {
            "endpoint_name": "local",
            "region": "us-east-1",
            "endpoint_uri": self.uri,
            "ca_bundle": self.ca_bundle,
            "proxy": "",
            "boto3_session": boto3.Session(
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
            ),
        }
        return SageMakerConfig(**fields | overrides)

    @property
    def stats(self) -> EndpointStats:
        """Its counters now."""
        self.pipe.send("stats")
        return self.pipe.recv()

    @property
    def legs(self):
        """The records of its streams so far."""
        self.pipe.send("legs")
        return self.pipe.recv()


async def _serve(pipe, options):
    async with LocalEndpoint(**options) as endpoint:
        keys = endpoint.credentials
        pipe.send((endpoint.uri, endpoint.ca_bundle, keys.access_key_id, keys.secret_access_key))
        while (asked := await asyncio.to_thread(pipe.recv)) != "stop":
            pipe.send(getattr(endpoint, asked))


def _process(pipe, options):
    asyncio.run(_serve(pipe, options))


@contextmanager
def endpoint_elsewhere(**options):
    """Runs `LocalEndpoint(**options)` in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_process, args=(theirs, options), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(30):
            raise TimeoutError("the endpoint's process does not answer")
        yield Elsewhere(*ours.recv(), ours)
        ours.send("stop")
        process.join(10)
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
