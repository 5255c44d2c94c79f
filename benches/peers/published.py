"""Points the published `deepgram-sagemaker` 0.4.0 at a local endpoint.

That release has the address of its region's endpoint in its code and always trusts the system's
authorities, so both are replaced from outside, and nothing else. For the interpreter in whose
environment it is installed.
"""

from pathlib import Path
from typing import Any

import awscrt.io
import deepgram_sagemaker.transport as published

__all__ = ["point_at"]


def point_at(endpoint_uri: str, ca_bundle: str | Path) -> None:
    """Sends every later connection to `endpoint_uri`, trusting the authorities of `ca_bundle`.

    Args:
        endpoint_uri: `https://host:port`.
        ca_bundle: a PEM file.
    """

    class Configuration(published.AsyncSageMakerRuntimeHTTP2Config):
        @classmethod
        async def resolve(cls, **settings: Any) -> Any:
            settings["endpoint_uri"] = endpoint_uri
            return await original.resolve(**settings)

    class TrustingOptions(awscrt.io.TlsContextOptions):
        def __init__(self) -> None:
            super().__init__()
            self.override_default_trust_store_from_path(None, str(ca_bundle))

    original = published.AsyncSageMakerRuntimeHTTP2Config
    published.AsyncSageMakerRuntimeHTTP2Config = Configuration
    # Looked up by name each time the package makes a client, which is once a connection.
    awscrt.io.TlsContextOptions = TrustingOptions
