"""What a worker has to know to hold its streams: the same here, in another process or on Ray.

Imports `audio` and `config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker.config import SageMakerConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .audio import Piece

__all__ = ["Spec"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The endpoint, the audio and the limits of a load test. It can be pickled.

    Attributes:
        endpoint_name: The SageMaker endpoint.
        region: Its region.
        endpoint_uri: Where to connect instead of the region's host.
        ca_bundle: A PEM file of the authorities to trust instead of the system's.
        authorities: What is in it, for workers on other machines; they write it to a file.
        profile: The AWS profile whose credentials to use; None: boto3's default chain.
        query: Deepgram's parameters, `model` included, the audio's excluded.
        flux: Whether to use `v2/listen`, and not `v1/listen`.
        pieces: The audio. Streams take them in turn.
        streams: The most streams at once, over all workers.
        stream_duration: Seconds of audio after which a stream ends and another takes its place;
            None: it goes on to the end of the test.
        silence: Seconds for which a stream may hear nothing before it counts as silent.
        settings: Further fields of `SageMakerConfig`.
    """

    endpoint_name: str
    region: str
    endpoint_uri: str | None = None
    ca_bundle: str | None = None
    authorities: bytes | None = None
    profile: str | None = None
    query: dict[str, str | list[str]]
    flux: bool = False
    pieces: Sequence[Piece]
    streams: int
    stream_duration: float | None = None
    silence: float = 10.0
    settings: dict[str, Any] | None = None

    def config(self) -> SageMakerConfig:
        """Return the settings of its sessions: the defaults, but for the number of streams."""
        session = None
        if self.profile is not None:
            import boto3

            session = boto3.Session(profile_name=self.profile)
        return SageMakerConfig(
            self.endpoint_name,
            self.region,
            endpoint_uri=self.endpoint_uri,
            ca_bundle=self.ca_bundle,
            boto3_session=session,
            # A stream that is replaced because of its age has two for a while.
            **{"max_concurrency": 2 * self.streams + 10} | (self.settings or {}),
        )
