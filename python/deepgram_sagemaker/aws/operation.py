"""The AWS SDK's operation: serialises and signs the request that opens a leg.

This is the only module that uses the AWS SDK or knows its versions. It uses the operation's input
and model, the protocol's serialisation, the signer, and the content of the user agent. It does not
use the SDK's client, configuration and request pipeline, because:

* The configuration reads the shared files with a parser that is stricter than botocore's. Files
  that boto3 and the AWS CLI accept must work here.
* `duplex_stream` waits on a future that is never set if the identity or the endpoint fails first.
* The pipeline writes the session token into the log (DEBUG) and keeps keys in its frames.
* The event publisher looks the identity up for each event, and keys that change in mid-stream
  break the signature chain.
* They are half of the import, and most of the cost of an opening.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from deepgram_sagemaker.errors import ProtocolError, SageMakerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepgram_sagemaker.credentials import Identity
    from deepgram_sagemaker.invocation import Invocation

__all__ = ["DISTRIBUTION", "Operation", "SignedRequest"]

DISTRIBUTION: Final = "aws-sdk-sagemaker-runtime-http2"

_PACKAGE: Final = "aws_sdk_sagemaker_runtime_http2"

_SIGNING_NAME: Final = "sagemaker"

_HTTPS_PORT: Final = 443

_SIGNATURE: Final = re.compile(r"Signature=([0-9a-f]{64})$")
"""The request's signature, with which the chain of event signatures begins."""


@dataclass(frozen=True, slots=True, repr=False)
class SignedRequest:
    """A POST that is ready to be sent. Its `repr` hides the token and the signature.

    Attributes:
        authority: Host and port as they were signed.
        path: The path, percent-encoded.
        headers: Pairs of a lower-case name and a value.
        seed_signature: The request's signature in hexadecimal, with which the chain of event
            signatures begins.
    """

    authority: str
    path: str
    headers: list[tuple[str, str]]
    seed_signature: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class Operation:
    """`InvokeEndpointWithBidirectionalStream` of the installed version of the AWS SDK.

    The constructor imports the SDK. This takes up to half a second once per process, so do not call
    it in an event loop's thread. An instance may be used from any number of threads.

    Args:
        app_id: The application's own part of the user agent, or None.

    Raises:
        SageMakerError: The installed SDK lacks a name that this module needs.
    """

    def __init__(self, app_id: str | None = None) -> None:
        version = "(unknown)"
        try:
            version = import_module(_PACKAGE).__version__
            models = import_module(f"{_PACKAGE}.models")
            signers = import_module("aws_sdk_signers")
            self._model = models.INVOKE_ENDPOINT_WITH_BIDIRECTIONAL_STREAM
            self._input = models.InvokeEndpointWithBidirectionalStreamInput
            self._protocol = _protocol_maker(version)(self._model.schema)
            self._signer = signers.AsyncSigV4Signer()
            self._keys = _masked(signers.AWSCredentialIdentity)
            self._uri = import_module("smithy_core").URI
            self._endpoint = import_module("smithy_core.endpoints").Endpoint
            self._field = import_module("smithy_http").Field
            self._properties = import_module("smithy_core.types").TypedProperties
            self._user_agent = _user_agent(version, app_id)
        except (ImportError, AttributeError, TypeError) as error:
            message = (
                f"{DISTRIBUTION} {version} is not one that this package can work with ({error}): "
                "install another version of either"
            )
            raise SageMakerError(message) from error

    async def signed(
        self,
        invocation: Invocation,
        identity: Identity,
        *,
        endpoint_name: str,
        target_variant: str | None,
        region: str,
        uri: str,
    ) -> SignedRequest:
        """Return the signed request of one leg, without waiting for anything.

        Args:
            invocation: Path and query.
            identity: The keys to sign with.
            endpoint_name: The SageMaker endpoint.
            target_variant: The production variant, or None.
            region: The region to sign for.
            uri: The URI to connect to, `https://host[:port][/path]`.

        Raises:
            ProtocolError: The SDK could not make or sign the request.
        """
        try:
            request = self._serialised(invocation, endpoint_name, target_variant, uri)
            signed = await self._signer.sign(
                request=request,
                identity=self._keys(
                    access_key_id=identity.access_key_id,
                    secret_access_key=identity.secret_access_key,
                    session_token=identity.session_token,
                ),
                properties={"region": region, "service": _SIGNING_NAME},
            )
            signature = _SIGNATURE.search(signed.fields["Authorization"].as_string())
        except Exception as error:  # noqa: BLE001 - whatever it is, its frames hold the keys
            failure = type(error).__name__
        else:
            if signature is not None:
                return SignedRequest(
                    authority=signed.destination.netloc,
                    path=signed.destination.path or "/",
                    headers=[(each.name.lower(), each.as_string()) for each in signed.fields],
                    seed_signature=signature[1],
                )
            failure = "no SigV4 signature"
        # Raised outside the handler, so that the failure's frames do not become its context.
        raise ProtocolError(f"the AWS SDK could not sign the request ({failure})", retryable=False)

    def _serialised(
        self, invocation: Invocation, endpoint_name: str, target_variant: str | None, uri: str
    ) -> Any:  # noqa: ANN401 - the SDK's
        request = self._protocol.serialize_request(
            operation=self._model,
            input=self._input(
                endpoint_name=endpoint_name,
                target_variant=target_variant,
                model_invocation_path=invocation.path,
                model_query_string=invocation.query or None,
            ),
            endpoint=self._uri(host="", path="/"),
            context=self._properties(),
        )
        # The native side sends and signs the events, and the signer would copy a body.
        request.body = b""
        request.fields.set_field(self._field(name="User-Agent", values=[self._user_agent]))
        parts = urlsplit(uri)
        where = self._uri(
            scheme=parts.scheme,
            host=parts.hostname or "",
            # The scheme's default port is not part of the signature, and the signer fails on it.
            port=None if parts.port == _HTTPS_PORT else parts.port,
            path=parts.path or None,
        )
        return self._protocol.set_service_endpoint(
            request=request, endpoint=self._endpoint(uri=where)
        )


# How each version of the SDK makes its protocol, newest first: the first row that is not newer than
# the installed version counts. Nothing else that this module uses has changed since 0.6.


def _with_settings(schema: Any) -> Any:  # noqa: ANN401 - the SDK's
    settings = import_module("smithy_core.aio.interfaces").ProtocolSettings(
        namespace=schema.id.namespace, service_target="AmazonSageMakerRuntimeHttp2"
    )
    return _rest_json()(settings)


def _with_schema(schema: Any) -> Any:  # noqa: ANN401 - the SDK's
    # It reads the namespace of the service's schema, which is private; the schema of any of the
    # service's shapes has the same namespace.
    return _rest_json()(schema)


_PROTOCOL_MAKERS: Final[tuple[tuple[tuple[int, int], Callable[[Any], Any]], ...]] = (
    ((0, 12), _with_settings),
    ((0, 6), _with_schema),
)


def _protocol_maker(version: str) -> Callable[[Any], Any]:
    installed = re.match(r"(\d+)\.(\d+)", version)
    if installed is not None:
        for first, make in _PROTOCOL_MAKERS:
            if (int(installed[1]), int(installed[2])) >= first:
                return make
    message = f"0.6 is the oldest that is known, not {version}"
    raise ImportError(message)


def _rest_json() -> Any:  # noqa: ANN401 - the SDK's
    return import_module("smithy_aws_core.aio.protocols").RestJsonClientProtocol


def _masked(identity: Any) -> Any:  # noqa: ANN401 - the SDK's
    """Return the signer's class of identities with a `repr` that hides the keys.

    The signer's frames hold an instance, and error reports print frames.
    """

    def __repr__(self: object) -> str:  # noqa: N807 - it becomes one
        return f"{type(self).__name__}(***)"

    return type("MaskedIdentity", (identity,), {"__repr__": __repr__, "__slots__": ()})


def _user_agent(version: str, app_id: str | None) -> str:
    """Return the User-Agent that the SDK's own client sends, the same for every request."""
    core = import_module("smithy_core.interceptors")
    general = import_module("smithy_http.interceptors.user_agent").UserAgentInterceptor()
    aws = import_module("smithy_aws_core.interceptors.user_agent").UserAgentInterceptor(
        ua_suffix=None, ua_app_id=app_id, sdk_version=version, service_id="SageMaker_Runtime_HTTP2"
    )
    http = import_module("smithy_http")
    request = import_module("smithy_http.aio").HTTPRequest(
        method="POST", destination=import_module("smithy_core").URI(host=""), fields=http.Fields()
    )
    properties = import_module("smithy_core.types").TypedProperties()
    # Called in the order of the SDK's pipeline.
    general.read_before_execution(core.InputContext(request=None, properties=properties))
    context = core.RequestContext(request=None, transport_request=request, properties=properties)
    aws.read_after_serialization(context)
    signing = general.modify_before_signing(context)
    return str(signing.fields["User-Agent"].as_string())


@functools.cache
def operation(app_id: str | None = None) -> Operation:
    """Return the process's operation for an application id. The first call imports the SDK."""
    return Operation(app_id)
