"""A client in a process of its own, which reports what a hostile server did to it.

Run as `python -m e2e.victim OPTIONS`, in JSON.
It warms up first: the first request of a process loads the AWS SDK. That request is refused.
"""

import asyncio
import json
import logging
import resource
import sys
import time

from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from e2e.hostile import session

URL = "wss://hostile/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
CHUNK = bytes(640)


def peak():
    """The most memory that this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Log(logging.Handler):
    """Keeps the length of every line."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(len(record.getMessage()))


async def talk(transport):
    while True:
        await transport.send(CHUNK)
        await asyncio.sleep(0.02)


async def suffer(options):
    log = Log()
    logger = logging.getLogger("deepgram_sagemaker")
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    factory = SageMakerTransportFactory(
        config=SageMakerConfig(**options["config"], boto3_session=session())
    )
    warm = factory(URL, {})
    try:
        await warm.recv()
    except SageMakerError:
        await warm.close()
    log.lines.clear()

    before, cpu, began = peak(), time.process_time(), time.monotonic()
    transport = factory(URL, {})
    talking = asyncio.create_task(talk(transport))
    error, messages = None, 0
    if options["reads"]:
        try:
            async with asyncio.timeout(options["seconds"]):
                while await transport.recv() is not None:
                    messages += 1
        except SageMakerError as failure:
            error = failure
        except TimeoutError:
            pass
    else:
        await asyncio.sleep(options["seconds"])
    ended = time.monotonic() - began
    talking.cancel()
    await asyncio.wait([talking])
    if not talking.cancelled():
        talking.exception()
    stats = transport.stats
    await transport.close()
    return {
        "grown": peak() - before,
        "cpu": time.process_time() - cpu,
        "ended": ended,
        "closed": time.monotonic() - began - ended,
        "error": None if error is None else type(error).__name__,
        "text": "" if error is None else str(error)[:2000],
        "longest_text": 0
        if error is None
        else max(len(str(error)), len(str(error.code or "")), len(str(error.request_id or ""))),
        "attempts": stats.attempts,
        "last_error": len(stats.last_error or ""),
        "messages": messages,
        "lines": len(log.lines),
        "longest_line": max(log.lines, default=0),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(suffer(json.loads(sys.argv[1])))))
