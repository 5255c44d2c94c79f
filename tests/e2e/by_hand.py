"""The client's side of the protocol in a few lines of Python: botocore signs the request, hmac the
events. It shares nothing with `rust/wire`, and so can disagree with it.
"""

import binascii
import hashlib
import hmac
import struct
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

STREAMING = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
STRING, BYTES, TIMESTAMP = 7, 6, 8


def request_headers(url, *, access_key_id, secret_access_key, region, path, query):
    """The signed headers of an invocation, in order."""
    request = AWSRequest("POST", url)
    request.headers["X-Amzn-SageMaker-Model-Invocation-Path"] = path
    request.headers["X-Amzn-SageMaker-Model-Query-String"] = query
    request.headers["Content-Type"] = "application/vnd.amazon.eventstream"
    request.headers["X-Amz-Content-SHA256"] = STREAMING
    SigV4Auth(Credentials(access_key_id, secret_access_key), "sagemaker", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def _header(name, kind, value):
    if kind in (STRING, BYTES):
        value = struct.pack(">H", len(value)) + value
    return bytes([len(name)]) + name + bytes([kind]) + value


def _message(headers, payload):
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", binascii.crc32(body))


def encoded(headers, payload):
    """An event: headers are names, types and values."""
    return _message(b"".join(_header(*header) for header in headers), payload)


def payload_part(data):
    """An event with one whole message: text if it is `str`, audio if it is `bytes`."""
    text = isinstance(data, str)
    headers = (
        (b":message-type", b"event"),
        (b":event-type", b"PayloadPart"),
        (b":content-type", b"application/octet-stream"),
        (b"DataType", b"UTF8" if text else b"BINARY"),
        (b"CompletionState", b"COMPLETE"),
    )
    content = data.encode() if text else data
    return encoded([(name, STRING, value) for name, value in headers], content)


def signed_stream(messages, headers, *, secret_access_key, region):
    """A whole request body: each message's event in its signed envelope, and the empty end."""
    moment = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    day = moment.strftime("%Y%m%d")
    date = _header(b":date", TIMESTAMP, struct.pack(">q", int(moment.timestamp() * 1000)))
    key = f"AWS4{secret_access_key}".encode()
    for part in (day, region, "sagemaker", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    previous = headers["authorization"].rpartition("Signature=")[2]
    body = b""
    for inner in (*(payload_part(message) for message in messages), b""):
        to_sign = "\n".join(
            (
                "AWS4-HMAC-SHA256-PAYLOAD",
                headers["x-amz-date"],
                f"{day}/{region}/sagemaker/aws4_request",
                previous,
                hashlib.sha256(date).hexdigest(),
                hashlib.sha256(inner).hexdigest(),
            )
        )
        signature = hmac.digest(key, to_sign.encode(), "sha256")
        previous = signature.hex()
        body += _message(date + _header(b":chunk-signature", BYTES, signature), inner)
    return body


def answers(body):
    """The messages in a response's body, as botocore reads it; an exception in it is an error."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    messages = []
    for event in buffer:
        if event.headers[":message-type"] != "event":
            raise AssertionError(f"{event.headers}: {event.payload!r}")
        text = event.headers.get("DataType") == "UTF8"
        messages.append(event.payload.decode() if text else event.payload)
    return messages
