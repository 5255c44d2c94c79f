"""What people read about each reason: the error's class, what happened, and what to do.

One row for each reason of the native table (`rust/leg/src/reason.rs`). Imports `errors` alone.
Tests: `tests/aws/test_failures.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.errors import (
    AcquireTimeoutError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    EndpointNotFoundError,
    ModelError,
    NoCredentialsError,
    ProtocolError,
    SageMakerError,
    ServiceUnavailableError,
    SessionClosedError,
    StalledError,
    StreamResetError,
    SubscriptionTimeoutError,
    ThrottledError,
    TLSError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ROWS", "Row"]

IAM_ACTION: Final = "sagemaker:InvokeEndpointWithBidirectionalStream"


@dataclass(frozen=True, slots=True)
class Row:
    """What people read about one reason.

    Attributes:
        error: What it becomes.
        advice: What happened and what to do. May use `{endpoint}`, `{region}`, `{parameters}`
            (the query's names) and `{log}` (where the container's own words are).
        extra: More arguments for the error.
    """

    error: type[SageMakerError]
    advice: str
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


_ACCESS: Final = (
    f"access denied: the caller needs the IAM action {IAM_ACTION} on endpoint {{endpoint!r}} in "
    "{region}; sagemaker:InvokeEndpoint alone is not enough."
)

# fmt: off
ROWS: Final[dict[str, Row]] = {
    # On the way to the service.
    "dns": Row(ConnectError,
        "the host's name was not found: check region ({region}), endpoint_uri and DNS; a name that "
        "only a VPC knows resolves inside it alone."),
    "connect": Row(ConnectError,
        "no TCP connection came up: nothing listens at this address and port, or no route leads "
        "there. AWS listens on 8443, so firewalls and security groups have to let it out; "
        "another address comes from endpoint_uri."),
    "handshake_cut": Row(ConnectError,
        "the connection was closed before TLS was agreed: a firewall that does not let TLS "
        "through to this host, or a server that starts or is overloaded."),
    "connect_timeout": Row(ConnectTimeoutError,
        "TCP, TLS and HTTP/2 did not come up within connection_timeout: a firewall or security "
        "group that drops packets (AWS listens on 8443) looks like this, and so does a port "
        "that does not speak TLS."),
    "proxy_unreachable": Row(ConnectError,
        "the proxy itself could not be reached: check proxy, HTTPS_PROXY and NO_PROXY (hosts to "
        "reach without it), and whether it runs."),
    "proxy_timeout": Row(ConnectTimeoutError,
        "the proxy did not make the connection within connection_timeout: its log says whether "
        "it got the request; https:// in proxy or HTTPS_PROXY is for proxies that speak TLS "
        "themselves, most want http://."),
    "proxy_failed": Row(ConnectError,
        "the proxy could not connect to the service: it has to be able to reach the host on its "
        "port, 8443 on AWS. One that speaks TLS itself, and closes what does not, wants https:// "
        "in proxy or HTTPS_PROXY."),
    "proxy_wants_password": Row(ConnectError,
        "the proxy wants a user and a password: put them into proxy or HTTPS_PROXY, as "
        "http://user:password@host:port."),
    "proxy_password": Row(ConnectError,
        "the proxy did not accept the user and password (credentials) that it was given: check "
        "proxy, HTTPS_PROXY and NO_PROXY. Each of : / @ % # in them has to be percent-encoded; "
        "only the scheme Basic is spoken."),
    "proxy_denied": Row(ConnectError,
        "the proxy forbids this connection: have it allow CONNECT to the host and its port "
        "(8443 on AWS) for this user and password (credentials), or reach the host without it "
        "(NO_PROXY)."),
    "proxy_refused": Row(ConnectError,
        "the proxy does not make this connection: it has to allow CONNECT to port 8443; is what "
        "proxy or HTTPS_PROXY names a forward proxy?"),
    "proxy_nonsense": Row(ConnectError,
        "what proxy or HTTPS_PROXY names does not answer like an HTTP proxy: check its port; "
        "SOCKS is not spoken."),
    "proxy_certificate": Row(TLSError,
        "the proxy's own certificate was not accepted: its authority has to be among those of "
        "ca_bundle or AWS_CA_BUNDLE (without them, of the system), next to the service's, and "
        "its name has to be the proxy's."),
    "proxy_tls": Row(TLSError,
        "no TLS with the proxy itself: https:// in proxy or HTTPS_PROXY is for proxies that speak "
        "TLS, most want http://."),
    "tls_issuer": Row(TLSError,
        "the server's certificate is of an authority that this system does not trust: for a "
        "private authority, or a proxy that opens TLS, set ca_bundle or AWS_CA_BUNDLE to a PEM "
        "file with the authority's certificate."),
    "tls_issuer_of_bundle": Row(TLSError,
        "the server's certificate is of an authority that is not in the file that is trusted in "
        "place of the system's: add that authority's certificate (PEM) to it, or set ca_bundle or "
        "AWS_CA_BUNDLE to a file that has it. `openssl s_client -connect HOST:PORT -showcerts` "
        "shows which it is; one of the same name with another key is another authority."),
    "tls_own_authority": Row(TLSError,
        "the server shows an authority's certificate (CA:TRUE, as `openssl req -x509` makes "
        "them) as its own, which is not accepted, trusted or not. Make it with `-addext "
        "basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:HOST`, or have the "
        "authority sign one for the server, and let ca_bundle name what you made."),
    "tls_expired": Row(TLSError,
        "the server's certificate is not valid at this time: it has expired, or begins later. "
        "Renew it, or set this machine's clock."),
    "tls_name": Row(TLSError,
        "the server's certificate was not accepted: check that the host's name is the "
        "certificate's. Use one of its names in endpoint_uri, or have a certificate with this one "
        "(subjectAltName; for an address, an IP entry)."),
    "tls_certificate": Row(TLSError,
        "the server's certificate cannot be used as it is: `openssl s_client -connect HOST:PORT "
        "-showcerts` shows it; it has to be a server's (X.509 v3, serverAuth), with its chain."),
    "tls_refused": Row(TLSError,
        "the two sides have no way of TLS in common, or the server wants a client's certificate, "
        "which is not supported: it has to offer TLS 1.2 or 1.3 with ECDHE and AES-GCM or "
        "ChaCha20, and take clients without a certificate."),
    "weak_tls": Row(TLSError,
        "the server does not accept this TLS for HTTP/2 (INADEQUATE_SECURITY): have it allow TLS "
        "1.3."),
    "not_tls": Row(TLSError,
        "the TLS handshake failed: does this port speak TLS? What answered did not; check the "
        "port in endpoint_uri (8443 on AWS)."),
    "tls": Row(TLSError,
        "the TLS handshake failed: something on the way may change it (a firewall that opens "
        "TLS), or the server is faulty."),
    "trust": Row(TLSError,
        "the certificates to trust cannot be used: ca_bundle or AWS_CA_BUNDLE has to name a PEM "
        "file with CERTIFICATE blocks; without them the system has to have a store."),
    "no_http2": Row(ProtocolError,
        "the peer does not speak HTTP/2, which this API needs: the port has to be 8443 on AWS, "
        "and a load balancer or a proxy that opens TLS has to pass ALPN h2."),
    "http_1_1_required": Row(ProtocolError,
        "the peer wants HTTP/1.1, which cannot carry this: a proxy or load balancer that opens "
        "TLS is in between; go round it (NO_PROXY), or have it pass HTTP/2."),

    # Waiting.
    "acquire_timeout": Row(AcquireTimeoutError,
        "no stream came free within connection_acquire_timeout: close sessions that are done "
        "with, or raise max_concurrency if the endpoint can carry more; or, where the detail "
        "names handshakes, open streams more slowly: connections are paced."),
    "subscription_timeout": Row(SubscriptionTimeoutError,
        "the service took the request and did not answer within subscription_timeout: the "
        "endpoint may be scaling, or its container hangs ({log}). A port that is not 8443 on "
        "AWS answers nothing either."),
    "stalled": Row(StalledError,
        "nothing came from the service for stall_timeout, with audio waiting for its results: "
        "the container hangs or is overloaded ({log})."),

    "close_timeout": Row(StalledError,
        "the service did not answer everything within close_timeout: give it longer, or find out "
        "why it is slow ({log})."),

    # How much is asked of the service.
    "throttled": Row(ThrottledError,
        "the service asks for fewer requests: slow down, or scale the endpoint out."),
    "calm": Row(ThrottledError,
        "the service asks for fewer requests (ENHANCE_YOUR_CALM): open streams more slowly."),
    "not_ready": Row(ServiceUnavailableError,
        "endpoint {endpoint!r} is still getting ready: its model is being loaded; {log} says how "
        "far that is."),
    "not_in_service": Row(ServiceUnavailableError,
        "endpoint {endpoint!r} is not in service: look at its state (aws sagemaker "
        "describe-endpoint --endpoint-name {endpoint} --region {region})."),
    "request_timeout": Row(ServiceUnavailableError,
        "the service gave up waiting for the request: the way to it is slow or loses packets."),
    "service_failed": Row(ServiceUnavailableError,
        "the service failed, or has no room: if it lasts, look at the endpoint's load and "
        "instances, and at {log}."),
    "stream_failed": Row(ServiceUnavailableError,
        "the service failed in mid-stream (InternalStreamFailure): if it lasts, look at the "
        "endpoint's load and instances, and at {log}."),

    # Who is asking.
    "no_credentials": Row(NoCredentialsError,
        "there are no credentials to sign with."),
    "credentials_unavailable": Row(NoCredentialsError,
        "what has the credentials could not be reached."),
    "keys_expired": Row(AuthenticationError,
        "the credentials have expired, and looking them up again brought none that are accepted: "
        "renew them (aws sso login, or a new assumed role).",
        extra={"expired": True}),
    "request_expired": Row(AuthenticationError,
        "the service counts the request as expired: the credentials have run out (renew them), "
        "or this machine's clock is wrong (set it).",
        extra={"expired": True}),
    "clock_skew": Row(AuthenticationError,
        "the request counts as signed at another time: set this machine's clock."),
    "wrong_region": Row(AuthenticationError,
        "the request was signed for {region}, and the endpoint is in another region: check region "
        "and endpoint_uri."),
    "bad_signature": Row(AuthenticationError,
        "the signature was not accepted: check the secret key, and that no proxy changes the "
        "request."),
    "unknown_key": Row(AuthenticationError,
        "the access key is not known in region {region}: check which credentials are in use "
        "(aws sts get-caller-identity)."),
    "unsigned": Row(AuthenticationError,
        "the service wants a signed request and saw none: is a proxy removing headers?"),
    "unauthorized": Row(AuthenticationError,
        f"the service refused the caller: check the credentials, and the IAM action {IAM_ACTION} "
        "on endpoint {endpoint!r} in {region}."),
    "access_denied": Row(AuthenticationError, _ACCESS),
    "encryption_key": Row(AuthenticationError,
        "the KMS key of endpoint {endpoint!r} cannot be used: the endpoint's execution role, and "
        "the key's policy, have to allow kms:Decrypt, and the key has to be enabled."),

    # What is asked for.
    "no_endpoint": Row(EndpointNotFoundError,
        "no endpoint {endpoint!r} in region {region} of this account: check both, and the "
        "account (aws sagemaker list-endpoints --region {region})."),
    "invalid_request": Row(ValidationError,
        "the service refused the request as invalid: what it names is wrong in the query "
        "({parameters}), the path, endpoint_name or target_variant."),
    "invalid_event": Row(ValidationError,
        "the service refused an event of the stream as invalid: what it names is wrong in what "
        "was sent."),
    "request_refused": Row(ValidationError,
        "the service refused the request, without a name for what is wrong: does endpoint_uri "
        "lead to SageMaker, and does a proxy in between change the request?"),
    "not_sagemaker": Row(ProtocolError,
        "the answer is none that SageMaker gives: does endpoint_uri lead to SageMaker?"),
    "setting": Row(ValidationError,
        "a setting breaks a rule."),

    # The container. The first row is SageMaker's one sentence for two things: a container that is
    # full, and one that refuses the query.
    "container_unavailable": Row(ModelError,
        "the container did not take the stream: it is overloaded, or refuses the query "
        "({parameters}). Its own words are in {log}."),
    "container_refused": Row(ModelError,
        "the container refused the stream: check the query ({parameters}), the model and its "
        "licence. Its own words are in {log}."),
    "container_policy": Row(ModelError,
        "the container refused what it was sent: check the query ({parameters}) and the "
        "messages."),
    "bad_audio": Row(ModelError,
        "the container cannot read the audio: check encoding, sample_rate and channels against "
        "what is sent."),
    "silent_application": Row(ModelError,
        "the container closed the stream: neither audio nor KeepAlive reached it for ten "
        "seconds; set keepalive_interval, or send one of them in time."),
    "nothing_heard": Row(ModelError,
        "the container closed the stream: it says that no audio reached it, though audio was "
        "sent: check that encoding is what is sent ({log})."),
    "container_done": Row(ModelError,
        "the container closed the stream in order (1000) before everything that was sent had its "
        "results: it may be shutting down, or be overloaded ({log})."),
    "container_closed": Row(ModelError,
        "the container closed the stream: {log} says why."),

    # Streams and connections that end.
    "early_end": Row(ServiceUnavailableError,
        "the service ended the stream early, in order, before everything that was sent had its "
        "results: the endpoint may be scaling in or being updated; where this repeats from the "
        "start, endpoint_uri may lead to something else than SageMaker."),
    "unanswered": Row(ServiceUnavailableError,
        "the service ended the stream early, without an answer to the closing message, and "
        "results are missing: the endpoint may be scaling in or being updated ({log})."),
    "unknown_exception": Row(ServiceUnavailableError,
        "the service ended the stream with an exception that is not known here: its name and "
        "words are the service's."),
    "refused_stream": Row(StreamResetError,
        "the service refused the stream before looking at it (REFUSED_STREAM): it has no room, "
        "or is going away."),
    "reset": Row(StreamResetError,
        "the service reset the stream: a container or a host that went away looks like this "
        "({log})."),
    "peer_confused": Row(ProtocolError,
        "the peer could not make sense of what it received: something on the way changes HTTP/2 "
        "(a proxy or firewall that opens TLS), or it is no SageMaker."),
    "goaway": Row(ConnectionLostError,
        "the service closed the connection (GOAWAY), with the stream on it: its hosts are being "
        "replaced, or something in between limits connections."),
    "dropped": Row(ConnectionLostError,
        "the connection to the service was lost: the network, a firewall's idle limit, or the "
        "service's host."),
    "protocol": Row(ProtocolError,
        "what came from the service makes no sense: something on the way changes it (a proxy or "
        "firewall that opens TLS), endpoint_uri leads to something else than SageMaker, or the "
        "service is faulty."),
    "closed": Row(SessionClosedError,
        "closed from this side."),
    "unknown": Row(ProtocolError,
        "the transport failed in a way that has no name: please report it, with what follows."),
}
# fmt: on
