"""`gateway` from the outside: what it says, whom it lets in, how it ends, and what it logs."""

import asyncio
import json
import shutil
import signal
import ssl
import sys

import pytest
import websockets
from cli.gateways import CERTIFICATES, KEY, converse, finish, gateway, heard, send
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterNewChunks, Reset
from prometheus_client.parser import text_string_to_metric_families
from sessions import run_script

pytestmark = pytest.mark.patience(120)


@pytest.fixture
def endpoint():
    with LocalEndpoint("mine", faults=[Fault(Reset(), when=AfterNewChunks(40), times=2)]) as there:
        yield there


def values(text):
    """The sums over all series, by name."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("deepgram_sagemaker_")
            found[name] = found.get(name, 0) + sample.value
    return found


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_how_it_is_reached_and_ends_quietly(endpoint, stop):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        assert "The gateway is up." in running.said
        assert "Endpoint:   mine (us-east-1)" in running.said
        assert "none: it listens on loopback" in running.said
        for client in ("DeepgramClientEnvironment(", "baseUrl", "new WebSocket(", "websocat"):
            assert client in running.said
        assert running.url in running.said
        assert await running.get("/healthz") == (200, "ok\n")
        assert (await running.get("/readyz"))[0] == 200
        running.stop(stop)
        assert await running.ended() == (0, "")
        assert running.errors == ""


async def test_the_lines_for_python_work_as_they_are_printed(endpoint):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        code = running.said.partition("sync or async:\n")[2].partition("Deepgram's Java")[0]
        program = (
            code
            + "options = dict(model='nova-3', encoding='linear16', sample_rate=16000)\n"
            + "with client.listen.v1.connect(**options) as connection:\n"
            + "    connection.send_media(bytes(3200))\n"
            + "    connection.send_close_stream()\n"
            + "    print([message.type for message in connection])\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert output.decode().strip().endswith("'Metadata']")


async def test_a_conversation_survives_resets_and_is_logged_and_counted(endpoint, tmp_path):
    log = tmp_path / "access.log"
    async with gateway("--access-log", log, "--log-format", "json", endpoint=endpoint) as running:
        running.url = (await running.told(r"the gateway is up: (ws://[\d.:]+)"))[1]
        numbers, code = await converse(running, 150)
        assert numbers == list(range(150))
        assert code == 1000
        status, text = await running.get("/metrics")
        assert status == 200
        running.stop()
        assert (await running.ended())[0] == 0
    await promtool(text)
    figures = values(text)
    assert figures["leg_resets_total"] == 2
    assert figures["audio_sent_time_seconds_total"] == pytest.approx(3.0)
    assert figures["audio_acknowledged_time_seconds_total"] == pytest.approx(3.0)
    assert figures["audio_lost_time_seconds_total"] == 0
    assert figures["session_duration_seconds_count"] == 1
    assert figures["gateway_conversations_total"] == 1
    assert figures["gateway_closes_total"] == 1
    assert figures["gateway_conversation_active"] == 0
    assert figures["gateway_received_size_bytes_total"] >= 150 * 640
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["path"] == "/v1/listen"
    assert (line["status"], line["close_code"], line["by"]) == (101, 1000, "gateway")
    assert line["messages_in"] == 151
    assert line["bytes_in"] == 150 * 640 + len('{"type": "CloseStream"}')
    assert line["audio_seconds"] == pytest.approx(3.0)
    assert line["resets"] == 2
    # Both logs have the conversation's id, and neither has content.
    events = [json.loads(each) for each in running.errors.splitlines()]
    assert {each["session"] for each in events if "session" in each} == {line["id"]}
    assert [each.get("event") for each in events].count("leg_ended") == 2
    for content in ("Geheim", "nova-3", "linear16"):
        assert content not in log.read_text() + running.errors


async def promtool(text):
    """Has Prometheus' own tool check metrics, where it is installed."""
    if shutil.which("promtool") is None:
        return
    process = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text.encode())
    # 3 is advice on the names, which are OpenTelemetry's.
    assert process.returncode in (0, 3), said.decode()
    assert "error" not in said.decode().lower()


async def test_keys_let_in_and_stay_secret(endpoint, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"captions:{KEY}\nweak:abc\n")
    log = tmp_path / "access.log"
    arguments = ("--keys", file, "--access-log", log, "--connections-per-key", 1)
    async with gateway(*arguments, endpoint=endpoint) as running:
        await running.up()
        assert "Keys:       2" in running.said
        assert "can be guessed: weak" in running.said
        assert "Token KEY" in running.said
        for wrong in (None, "wrong", KEY[:-1], KEY + "0"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await running.connect(wrong)
            assert refused.value.response.status_code == 401
            assert "dg-error" in refused.value.response.headers
        numbers, _ = await converse(running, 20, key=KEY)
        assert numbers == list(range(20))
        async with running.connect(KEY):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await running.connect(KEY)
            assert refused.value.response.status_code == 429
        # A browser can send a key in no other way.
        async with websockets.connect(
            f"{running.url}/v1/listen?model=nova-3",
            subprotocols=["token", KEY],
            origin="https://app.example.com",
        ) as socket:
            assert socket.subprotocol == "token"
        assert (await running.get("/metrics"))[0] == 401
        status, text = await running.get("/metrics", KEY)
        assert status == 200
        assert values(text)["gateway_refusals_total"] >= 5
        assert (await running.get("/readyz"))[0] == 200
        running.stop()
        assert (await running.ended())[0] == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["key"] for each in lines].count("captions") >= 2
    # Four clients, and one that asked for the metrics.
    assert [each["status"] for each in lines].count(401) == 5
    assert KEY not in log.read_text() + running.said + running.errors


async def test_a_page_from_elsewhere_does_not_use_a_gateway_without_keys(endpoint):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        for origin, status in (
            ("https://evil.example", 403),
            ("http://127.0.0.1.evil.example", 403),
            ("null", 403),
        ):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await running.connect(origin=origin)
            assert refused.value.response.status_code == status
        for origin in ("http://localhost:3000", running.http):
            async with running.connect(origin=origin):
                pass


async def test_sigterm_lets_a_conversation_end(endpoint):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        async with running.connect() as socket:
            hearing = asyncio.create_task(heard(socket))
            await send(socket, 50, pace=0.005)
            running.stop()
            await running.told("draining: 1 conversation goes on, for at most 60 s")
            with pytest.raises(OSError, match="refused"):
                await running.get("/healthz")
            await send(socket, 50, pace=0.005, first=50)
            await socket.send(json.dumps({"type": "CloseStream"}))
            assert await hearing == list(range(100))
            assert socket.close_code == 1000
        assert (await running.ended())[0] == 0
        assert "before time" not in running.errors


async def test_a_conversation_that_goes_on_is_closed_in_the_end(endpoint):
    async with gateway("--drain-timeout", "0.5", endpoint=endpoint) as running:
        await running.up()
        async with running.connect() as socket:
            await send(socket, 10)
            running.stop()
            assert await heard(socket) is not None
            assert socket.close_code == 1001
        assert (await running.ended())[0] == 0
        assert "1 conversation was ended before time" in running.errors


async def test_a_second_signal_ends_at_once(endpoint):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        async with running.connect() as socket:
            await send(socket, 10)
            running.stop()
            await running.told("draining")
            running.stop()
            await heard(socket)
            assert socket.close_code == 1001
            assert (await running.ended(15))[0] == 0
        assert "1 conversation was ended before time" in running.errors


async def test_tls_is_served_with_the_given_certificate(endpoint, tmp_path):
    certificate = CERTIFICATES / "own.pem"
    arguments = ("--tls-certificate", certificate, "--tls-key", certificate)
    async with gateway(*arguments, endpoint=endpoint) as running:
        await running.up()
        assert running.url.startswith("wss://")
        assert 'baseUrl: "https://' in running.said
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with running.connect(ssl=context) as socket:
            await send(socket, 10)
            assert await finish(socket) == list(range(10))
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    arguments = ("--tls-certificate", wrong, "--tls-key", certificate)
    async with gateway(*arguments, endpoint=endpoint) as running:
        status, _ = await running.ended()
        assert status == 1
        assert running.errors.startswith("Failed: ")
        assert "certificate" in running.errors.lower()


async def test_a_taken_port_is_said_with_the_way_out(endpoint):
    async with gateway(endpoint=endpoint) as running:
        await running.up()
        port = running.url.rpartition(":")[2]
        for workers in ("1", "2"):
            if workers == "2" and sys.platform != "linux":
                continue
            async with gateway("--workers", workers, endpoint=endpoint, port=port) as other:
                status, _ = await other.ended()
            assert status == 1
            assert other.errors.startswith(f"Failed: 127.0.0.1:{port} cannot be listened on: ")
            assert "--port 0 takes a free port" in other.errors


async def test_keys_of_the_environment_named_sites_open_metrics_and_a_log_on_standard_output(
    endpoint,
):
    environment = {"DEEPGRAM_GATEWAY_KEYS": f"one:{KEY}"}
    arguments = ("--open-metrics", "--origin", "https://app.example.com", "--access-log", "-")
    async with gateway(*arguments, endpoint=endpoint, **environment) as running:
        # The lines of the log are alone on standard output.
        await running.told("websocat")
        running.url = (await running.told(r"ws://\S+:\d+"))[0]
        assert (await running.get("/metrics"))[0] == 200
        async with running.connect(KEY, origin="https://app.example.com") as socket:
            await send(socket, 10)
            assert await finish(socket) == list(range(10))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await running.connect(KEY, origin="http://localhost:3000")
        assert refused.value.response.status_code == 403
        running.stop()
        _, output = await running.ended()
        # In the order of their ends, which may be either.
        lines = map(json.loads, output.splitlines())
        served, denied = sorted(lines, key=lambda line: line["status"])
        assert (served["key"], served["messages_in"]) == ("one", 11)
        assert denied["status"] == 403


async def test_a_log_that_cannot_be_opened_is_said(endpoint, tmp_path):
    async with gateway("--access-log", tmp_path / "no" / "log", endpoint=endpoint) as running:
        status, _ = await running.ended()
        assert (status, "No such file or directory" in running.errors) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("hard", "allowed", "says"), [(1000, 900, ""), (500, 500, "only 500 files may be open")]
)
def test_as_many_files_may_be_open_as_the_system_allows(hard, allowed, says):
    ran = run_script(
        "import logging, resource\n"
        "from deepgram_sagemaker.cli.gateway_serving import allow_files\n"
        "logging.basicConfig(format='%(message)s')\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (200, {hard}))\n"
        "allow_files(900, least=600)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(allowed)
    assert says in ran.stderr
    assert bool(says) is bool(ran.stderr)


async def test_an_endpoint_that_refuses_is_an_answer_of_http():
    from deepgram_sagemaker.local.faults import Answer

    refuses = Fault(Answer(403, "AccessDeniedException"), times=None)
    with LocalEndpoint("mine", faults=[refuses]) as endpoint:
        async with gateway(endpoint=endpoint) as running:
            await running.up()
            with pytest.raises(websockets.InvalidStatus) as refused:
                await running.connect()
            assert refused.value.response.status_code == 503
            await running.told("AccessDenied")
            running.stop()
            assert (await running.ended())[0] == 0
