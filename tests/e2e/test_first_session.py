"""A process's first session: its imports do not block the loop."""

import json

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from sessions import run_script

FIRST = """
import asyncio, json, sys, threading, time

from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk

URI, BUNDLE = sys.argv[1:]
LOOP = threading.get_ident()
imported = []
watching = False

def hook(event, arguments):
    if watching and event == "import" and threading.get_ident() == LOOP:
        imported.append(arguments[0])

sys.addaudithook(hook)

async def main():
    global watching
    loop = asyncio.get_running_loop()
    longest = 0.0
    last = time.thread_time()

    # Every iteration of the loop is measured, in its thread's own time: a busy machine, and threads
    # that hold the GIL for a moment, do not count.
    select = loop._selector.select

    def measured(timeout):
        nonlocal longest, last
        longest = max(longest, time.thread_time() - last)
        found = select(timeout)
        last = time.thread_time()
        return found

    settings = {"endpoint_uri": URI, "ca_bundle": BUNDLE or None}
    config = SageMakerConfig("local", region="us-east-1", **settings)
    factory = SageMakerTransportFactory(config=config)
    await asyncio.sleep(0.01)
    loop._selector.select = measured
    began, last, watching = time.process_time(), time.thread_time(), True
    transport = factory("wss://x/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000")
    await transport.send(chunk(0, 640))
    await transport.send('{"type": "CloseStream"}')
    said = [json.loads(message) async for message in transport]
    watching = False
    everything = time.process_time() - began
    assert said[-1]["type"] == "Metadata", said
    await transport.close()
    print(json.dumps({"longest": longest, "everything": everything, "imported": imported}))

asyncio.run(main())
"""


@pytest.fixture
def served(monkeypatch):
    """An endpoint, and its keys where boto3 finds them."""
    with LocalEndpoint() as endpoint:
        identity = endpoint.credentials
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_access_key)
        yield endpoint


@pytest.mark.parametrize("where", ["in code", "in the environment"])
def test_the_first_session_leaves_the_loop_its_time(served, monkeypatch, where):
    bundle = served.ca_bundle
    if where == "in the environment":
        # botocore also looks for it in files.
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        bundle = ""
    run = run_script(FIRST, served.uri, bundle, timeout=50)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    # Most of the time is the import of the AWS SDK and boto3. The loop imports our own modules.
    assert found["longest"] < found["everything"] / 4, found
    brought = {name.partition(".")[0] for name in found["imported"]}
    assert brought.isdisjoint(
        {
            "aiohttp",
            "aws_sdk_sagemaker_runtime_http2",
            "aws_sdk_signers",
            "boto3",
            "botocore",
            "smithy_aws_core",
            "smithy_core",
            "smithy_http",
            "urllib3",
        }
    ), brought
    # The hook sees imports: those of our modules.
    assert "deepgram_sagemaker" in brought


AT_ONCE = """
import asyncio, importlib, json, sys, threading

from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk

URI, BUNDLE = sys.argv[1:]
begin = threading.Barrier(7)
whole = []

async def one():
    config = SageMakerConfig("local", region="us-east-1", endpoint_uri=URI, ca_bundle=BUNDLE)
    transport = SageMakerTransportFactory(config=config)(
        "wss://x/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
    )
    await transport.send(chunk(0, 640))
    await transport.send('{"type": "CloseStream"}')
    said = [json.loads(message)["type"] async for message in transport]
    await transport.close()
    whole.append(said[-1])

def session():
    begin.wait()
    asyncio.run(one())

def load(*names):
    begin.wait()
    for name in names:
        importlib.import_module(name)

threads = [threading.Thread(target=session) for _ in range(4)] + [
    # What the application does itself, at the same moment.
    threading.Thread(target=load, args=("smithy_aws_core.identity", "boto3")),
    threading.Thread(target=load, args=("aws_sdk_sagemaker_runtime_http2.client",)),
    threading.Thread(target=load, args=("botocore.session", "aws_sdk_signers")),
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(45)
print(whole, [thread.is_alive() for thread in threads])
"""


def test_first_sessions_of_several_loops_at_once_beside_imports_of_the_applications(served):
    run = run_script(AT_ONCE, served.uri, served.ca_bundle, timeout=50)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"{['Metadata'] * 4} {[False] * 7}", run.stderr
