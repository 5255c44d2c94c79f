"""The local endpoint as a process of its own, so that its work is not counted as the client's.

Says where it listens in one line of JSON; then answers one line with one line: `records` with what
it knows of every stream, `usage` with its counters and its CPU time. Ends with its input.
"""

import argparse
import json
import sys
import time
from urllib.parse import parse_qs

from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterChunks, Fault, Reset
from deepgram_sagemaker.local.watermark import Watermark


def records(endpoint: LocalEndpoint) -> list[dict[str, object]]:
    """Every stream with its tag and times, nanoseconds on the machine's monotonic clock."""
    return [
        {
            "tag": parse_qs(leg.query).get("tag", [""])[0],
            "opened": round(leg.opened * 1e9),
            "closed": None if leg.closed is None else round(leg.closed * 1e9),
            "arrivals": [(number, round(at * 1e9)) for number, at in leg.arrivals],
        }
        for leg in endpoint.legs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reset-after", type=int, help="chunks after which first legs are reset")
    options = parser.parse_args()
    faults = []
    if options.reset_after is not None:
        fault = Fault(Reset(), when=AfterChunks(options.reset_after), scope="conversation")
        faults.append(fault)
    # Streams wait in silence while the last of a burst still opens. A fifth of a second of speech
    # has one word, but a result that is clipped after a reset is made of all listed words.
    listed = 1 if options.reset_after is None else None
    model = Watermark(silence_timeout=None, listed_words=listed)
    with LocalEndpoint(model=model, faults=faults, record_arrivals=True) as endpoint:
        where = {
            "endpoint_name": endpoint.endpoint_name,
            "region": endpoint.region,
            "uri": endpoint.uri,
            "ca_bundle": endpoint.ca_bundle,
            "access_key_id": endpoint.credentials.access_key_id,
            "secret_access_key": endpoint.credentials.secret_access_key,
        }
        print(json.dumps(where), flush=True)
        for line in sys.stdin:
            match line.strip():
                case "records":
                    answer: object = records(endpoint)
                case "usage":
                    stats = endpoint.stats
                    answer = {
                        "cpu": time.process_time(),
                        "opens": stats.opens,
                        "refused": stats.refused,
                        "signature_failures": stats.signature_failures,
                        "crc_failures": stats.crc_failures,
                    }
                case unknown:
                    sys.exit(f"unknown order {unknown!r}")
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
