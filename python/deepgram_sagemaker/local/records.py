"""Counters of the endpoint, and the record of each stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EndpointStats", "LegRecord", "record"]


@dataclass(frozen=True, kw_only=True)
class EndpointStats:
    """Counters since the endpoint started.

    Attributes:
        connections: TCP connections accepted.
        live_connections: of these, now open.
        tls_failures: TLS handshakes that failed.
        opens: requests received.
        accepted: of these, answered with 200.
        refused: of these, answered with an error.
        live_streams: accepted streams, now open.
        most_live_streams: the most of them at once.
        request_signature_failures: requests whose signature, key or token was not accepted.
        signature_failures: events whose signature was not the next one of their chain.
        crc_failures: events with a wrong CRC.
        malformed_events: events that could not be read for another reason.
        bad_ends: inputs that ended without the signed empty event.
        torn_chunks: watermarked chunks that came with a piece missing.
        messages_in: messages from clients.
        bytes_in: their bytes.
        messages_out: messages to clients.
        bytes_out: their bytes.
        faults: faults that struck.
    """

    connections: int
    live_connections: int
    tls_failures: int
    opens: int
    accepted: int
    refused: int
    live_streams: int
    most_live_streams: int
    request_signature_failures: int
    signature_failures: int
    crc_failures: int
    malformed_events: int
    bad_ends: int
    torn_chunks: int
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    faults: int


@dataclass(frozen=True, kw_only=True)
class LegRecord:
    """The record of one stream. Times are on the clock of `time.monotonic()`.

    Attributes:
        number: from 1, in the order of the signed requests; the others have no record.
        connection: the number of its connection, from 1.
        opened: when the request arrived.
        closed: when the response ended; None: it has not.
        status: the status of the answer; 0: none so far.
        path: the invocation's path.
        query: the invocation's query, as it came.
        access_key_id: the access key that signed the request.
        headers: headers of the request that describe the client; nothing secret.
        messages_in: messages from the client.
        bytes_in: their bytes.
        messages_out: messages to the client.
        bytes_out: their bytes.
        audio_seconds: seconds of audio heard, on the audio's own clock.
        controls: types of the text messages heard, in their order.
        chunks: watermarked chunks heard to their end, in the first channel.
        arrivals: each chunk heard with its time of arrival, where `record_arrivals` is set.
        input_end: how the client's input ended: `signed`, which is right; `unsigned`, `reset`,
            `gone` (with the connection) or `unread` (the server stopped reading), which are not; or
            `open`.
        end: how the response ended: `model`, `model_failed`, `fault`, `age`, `refused`,
            `bad_input`, `client_reset`, `gone`, `shutdown`; or `open`.
        faults: names of the faults that struck.
        refusal: the container's words when it refused path or query, which the client does not
            get. Empty: it did not refuse.
    """

    number: int
    connection: int
    opened: float
    closed: float | None
    status: int
    path: str
    query: str
    access_key_id: str
    headers: Mapping[str, str]
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    audio_seconds: float
    controls: Sequence[str]
    chunks: int
    arrivals: Sequence[tuple[int, float]]
    input_end: str
    end: str
    faults: Sequence[str]
    refusal: str


def record(facts: dict[str, Any], began: float) -> LegRecord:
    """Make a record of the server's facts.

    Args:
        facts: one leg's; times are seconds since the server's start.
        began: that start, on the clock of `time.monotonic()`.
    """
    closed = facts["closed"]
    return LegRecord(
        **facts
        | {
            "opened": began + facts["opened"],
            "closed": None if closed is None else began + closed,
            "headers": dict(facts["headers"]),
            "controls": tuple(facts["controls"]),
            "arrivals": tuple((number, began + at) for number, at in facts["arrivals"]),
            "faults": tuple(facts["faults"]),
        }
    )
