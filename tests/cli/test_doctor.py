"""`doctor` names the cause of each broken set-up, and prints no key."""

import asyncio
import contextlib
import io
import json
import re
import select
import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest
import rich.console
from acceptors import accepting
from cli.control_plane import ARN, control_plane
from deepgram_sagemaker.cli import doctoring
from deepgram_sagemaker.cli.app import Product, app
from deepgram_sagemaker.doctor import (
    CHECKS,
    NAME_A_REGION,
    NO_REGION,
    PRODUCTS,
    Case,
    Check,
    State,
    examine,
)
from deepgram_sagemaker.doctor.findings import FailedError, Told
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterMessages, Answer, EndEarly, GoSilent
from typer.testing import CliRunner

KEYS = Credentials(
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    session_token="FwoGZXIvYXdzEXAMPLETOKEN0123456789",
)
SECRETS = (KEYS.access_key_id, KEYS.secret_access_key, KEYS.session_token, "proxy-password")
NAMES = [check.name for check in CHECKS]


@pytest.fixture
def aws():
    with control_plane() as plane:
        yield plane


@pytest.fixture
def endpoint():
    with LocalEndpoint(credentials=KEYS) as endpoint:
        yield endpoint


def environment(endpoint, aws=None):
    variables = {
        "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
        "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
        "AWS_SESSION_TOKEN": KEYS.session_token,
        "AWS_REGION": "us-east-1",
        "AWS_CA_BUNDLE": endpoint.ca_bundle,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
    }
    if aws is not None:
        variables |= {"AWS_ENDPOINT_URL_STS": aws.uri, "AWS_ENDPOINT_URL_SAGEMAKER": aws.uri}
    return variables


class Report:
    """What `doctor` said, in JSON; the text for people is made as well, and no key is in either."""

    def __init__(self, variables, *arguments, name="local"):
        command = ["doctor", name, "--timeout", "30", *map(str, arguments)]
        runner = CliRunner(env=variables)
        result = runner.invoke(app, [*command, "--json"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        self.code = result.exit_code
        told = json.loads(result.stdout)
        self.region = told["region"]
        self.checks = {each["name"]: each for each in told["checks"]}
        assert list(self.checks) == NAMES
        assert not [secret for secret in SECRETS if secret in result.output]

    def by(self, state):
        return [name for name, each in self.checks.items() if each["state"] == state]

    @property
    def cause(self):
        """The one check that failed, with what it says."""
        assert self.code == 1
        (name,) = self.by("failed")
        assert self.checks[name]["advice"]
        return name, self.checks[name]["why"], self.checks[name]["advice"]


def test_a_healthy_endpoint_passes_every_check(endpoint, aws):
    report = Report(environment(endpoint, aws))
    assert (report.code, report.by("ok")) == (0, NAMES)
    facts = {name: each["facts"] for name, each in report.checks.items()}
    assert facts["identity"] == {"arn": ARN, "account": "123456789012"}
    assert facts["credentials"]["temporary"] is True
    assert facts["endpoint"]["variants"] == {"AllTraffic": 2}
    assert facts["tls"]["alpn"] == "h2"
    assert facts["open"]["open_seconds"] > 0
    assert set(facts["audio"]["messages"]) == {"Results", "Metadata"}
    assert "boto3" in facts["versions"]
    # One session, of one stream.
    assert [leg.end for leg in endpoint.legs] == ["model"]


def test_the_local_endpoint_alone_passes_and_what_is_not_asked_is_said(endpoint):
    report = Report(environment(endpoint))
    assert (report.code, report.by("failed")) == (0, [])
    assert report.by("skipped") == ["identity", "endpoint", "clock"]
    for name in report.by("skipped"):
        assert "is not a host of AWS" in report.checks[name]["why"]


def test_people_get_a_line_a_check_and_the_advice(endpoint, aws):
    aws.endpoints = {("us-east-1", "local"): "Creating"}
    result = CliRunner(env=environment(endpoint, aws)).invoke(app, ["doctor", "local"])
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines if line[:1] not in " F" and line] == NAMES
    (at,) = [at for at, line in enumerate(lines) if line.startswith("failed")]
    assert "is Creating" in lines[at]
    assert lines[at + 1].strip().startswith("What to do: wait until it is InService")
    assert lines[-1] == "Failed: endpoint"
    assert result.stdout.isascii()
    assert not [secret for secret in SECRETS if secret in result.output]


# The ten set-ups.


def test_no_credentials(endpoint, aws):
    variables = environment(endpoint, aws)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        del variables[name]
    report = Report(variables)
    name, why, advice = report.cause
    assert (name, why) == ("credentials", "no AWS credentials were found")
    assert "aws sso login" in advice
    # The way and the clock are looked at all the same.
    assert {"dns", "tcp", "tls", "clock"} <= set(report.by("ok"))
    assert report.checks["open"]["why"] == "credentials failed"


def test_an_expired_token(endpoint, aws):
    aws.sts = (403, "ExpiredToken", "The security token included in the request is expired")
    name, why, advice = Report(environment(endpoint, aws)).cause
    assert (name, "have expired" in why, "renew them" in advice) == ("identity", True, True)


def test_the_wrong_region(endpoint, aws):
    aws.endpoints = {("eu-west-1", "local"): "InService"}
    name, why, advice = Report(environment(endpoint, aws)).cause
    assert name == "endpoint"
    assert why == "the wrong region: endpoint 'local' is in eu-west-1, not in us-east-1"
    assert "--region eu-west-1" in advice


def test_no_such_endpoint(endpoint, aws):
    name, why, advice = Report(environment(endpoint, aws), name="missing").cause
    assert name == "endpoint"
    assert re.match(r"there is no endpoint 'missing' in us-east-1, nor in \d\d other regions", why)
    assert "list-endpoints --region us-east-1" in advice
    assert len({region for _, region in aws.asked}) > 10


def test_an_endpoint_that_is_still_creating(endpoint, aws):
    aws.endpoints = {("us-east-1", "local"): "Creating"}
    name, why, advice = Report(environment(endpoint, aws)).cause
    assert (name, why) == ("endpoint", "endpoint 'local' in us-east-1 is Creating")
    assert "wait" in advice
    assert not endpoint.legs


def test_a_missing_iam_action(aws):
    words = "User: arn:aws:iam::1:user/a is not authorized to perform this action"
    fault = Fault(Answer(403, "AccessDeniedException", body=json.dumps({"Message": words})))
    with LocalEndpoint(credentials=KEYS, faults=[fault]) as endpoint:
        report = Report(environment(endpoint, aws))
        name, why, advice = report.cause
        assert len(endpoint.legs) == 1
    assert name == "permission"
    assert why.startswith("access denied")
    assert "sagemaker:InvokeEndpointWithBidirectionalStream" in advice
    assert report.checks["open"]["why"] == "permission failed"


def test_a_port_that_is_closed(endpoint, aws):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    variables = environment(endpoint, aws)
    variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2"] = f"https://127.0.0.1:{port}"
    name, why, advice = Report(variables).cause
    assert (name, f":{port}: Connection refused" in why) == ("tcp", True)
    assert "8443" in advice


@pytest.mark.skipif(sys.platform != "linux", reason="other systems answer for a full queue")
def test_a_port_that_is_blocked(endpoint, aws):
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        variables = environment(endpoint, aws)
        uri = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2"] = uri
        name, why, _ = Report(variables, "--timeout", "0.5").cause
    assert name == "tcp"
    assert why.endswith("nothing came back in time")


@contextlib.contextmanager
def proxy(answer):
    """A proxy that answers every request so."""

    def serve(connection):
        connection.recv(4096)
        connection.sendall(answer)

    with accepting(serve) as port:
        yield f"http://user:proxy-password@127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("answer", "said", "advised"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP 403 Forbidden", "allow CONNECT"),
        (b"HTTP/1.1 407 Who\r\n\r\n", "HTTP 407", "user and password"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer like an HTTP proxy", "check its port"),
        (b"", "does not answer like an HTTP proxy: Remote end closed", "check its port"),
    ],
)
def test_a_proxy_that_refuses(endpoint, aws, answer, said, advised):
    with proxy(answer) as uri:
        report = Report(environment(endpoint, aws) | {"HTTPS_PROXY": uri})
    name, why, advice = report.cause
    assert (name, said in why, advised in advice) == ("proxy", True, True)
    assert report.checks["tls"]["why"] == "proxy failed"


PROXY_CERTIFICATE = Path(__file__).parents[1] / "e2e" / "hostile.pem"


class TlsProxy:
    """A proxy that speaks TLS itself, with a certificate of its own; one connection at a time."""

    def __init__(self):
        self.uri = None
        self.asked = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(PROXY_CERTIFICATE)

    def serve(self, connection):
        connection.settimeout(20)
        with self._context.wrap_socket(connection, server_side=True) as client:
            self._connect(client)

    def _connect(self, client):
        head = client.recv(1 << 16).decode()
        self.asked.append(head)
        host, port = head.split()[1].split(":")
        with socket.create_connection((host, int(port)), 20) as there:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            other = {client: there, there: client}
            while True:
                for source in [client] if client.pending() else select.select(other, [], [], 20)[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    other[source].sendall(data)


@pytest.fixture
def tls_proxy():
    proxy = TlsProxy()
    with accepting(proxy.serve) as port:
        proxy.uri = f"https://user:proxy-password@127.0.0.1:{port}"
        yield proxy


@pytest.fixture
def both_authorities(endpoint, tmp_path):
    """A file with the authorities of the endpoint and of the proxy."""
    certificate = PROXY_CERTIFICATE.read_text().split("-----BEGIN PRIVATE KEY-----")[0]
    bundle = tmp_path / "both.pem"
    bundle.write_text(Path(endpoint.ca_bundle).read_text() + certificate)
    return {"AWS_CA_BUNDLE": str(bundle)}


def test_a_proxy_that_speaks_tls_itself_is_gone_through(endpoint, tls_proxy, both_authorities):
    uri = tls_proxy.uri
    report = Report(environment(endpoint) | both_authorities | {"HTTPS_PROXY": uri})
    assert (report.code, report.by("failed")) == (0, [])
    shown = uri.replace("user:proxy-password", "***")
    assert report.checks["proxy"]["why"] == f"{shown} connects to 127.0.0.1:{endpoint.port}"
    assert report.checks["open"]["state"] == report.checks["audio"]["state"] == "ok"
    # The check, and the session.
    assert len(tls_proxy.asked) == 2
    assert all("Proxy-Authorization: Basic " in head for head in tls_proxy.asked)


def test_the_wrong_authority_for_the_proxy(endpoint, tls_proxy):
    name, why, advice = Report(environment(endpoint) | {"HTTPS_PROXY": tls_proxy.uri}).cause
    assert name == "proxy"
    assert re.match(r"the certificate of the proxy https://\*\*\*@\S+ is not accepted: ", why)
    assert why.endswith(f"(trusted: {endpoint.ca_bundle})")
    assert "AWS_CA_BUNDLE" in advice
    assert tls_proxy.asked == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_proxy_that_does_not_speak_tls(endpoint, answer):
    with proxy(answer) as uri:
        uri = uri.replace("http://", "https://")
        name, why, advice = Report(environment(endpoint) | {"HTTPS_PROXY": uri}).cause
    assert name == "proxy"
    assert why.startswith("no TLS with the proxy https://***@127.0.0.1:")
    assert "begin the proxy's URL with http://" in advice


def test_a_server_with_tls_that_is_no_proxy(endpoint):
    uri = f"https://127.0.0.1:{endpoint.port}"
    name, why, advice = Report(environment(endpoint) | {"HTTPS_PROXY": uri}).cause
    assert name == "proxy"
    assert why.startswith(f"{uri} does not answer like an HTTP proxy")
    assert "check its port" in advice


def test_the_wrong_authority(endpoint, aws):
    with LocalEndpoint() as other:
        variables = environment(endpoint, aws) | {"AWS_CA_BUNDLE": other.ca_bundle}
        report = Report(variables)
        name, why, advice = report.cause
        assert other.ca_bundle in why
    assert name == "tls"
    assert "is not accepted" in why
    assert "AWS_CA_BUNDLE" in advice


@pytest.mark.parametrize(("ahead", "direction"), [(3_600, "behind"), (-3_600, "ahead of")])
def test_a_clock_that_is_an_hour_off(endpoint, aws, ahead, direction):
    aws.ahead = ahead
    aws.sts = (403, "SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2")
    report = Report(environment(endpoint, aws))
    name, why, advice = report.cause
    assert name == "clock"
    assert f"clock is 60 minutes {direction} AWS's" in why
    assert "NTP" in advice
    assert "see the clock's line" in report.checks["identity"]["why"]


# Further ones.


def test_a_profile_that_does_not_exist(endpoint, aws):
    name, why, advice = Report(environment(endpoint, aws), "--profile", "nope").cause
    assert (name, "(nope)" in why, "list-profiles" in advice) == ("credentials", True, True)


@pytest.mark.parametrize(
    ("status", "advised"), [("Failed", "Endpoints/local"), ("OutOfService", "describe-endpoint")]
)
def test_an_endpoint_that_does_not_serve(endpoint, aws, status, advised):
    aws.endpoints = {("us-east-1", "local"): status}
    aws.reason = "the image cannot be pulled"
    name, why, advice = Report(environment(endpoint, aws)).cause
    assert name == "endpoint"
    assert why == f"endpoint 'local' in us-east-1 is {status}: the image cannot be pulled"
    assert advised in advice


def test_a_variant_that_does_not_exist(endpoint, aws):
    name, why, _ = Report(environment(endpoint, aws), "--target-variant", "blue").cause
    assert (name, "has no variant 'blue', only AllTraffic" in why) == ("endpoint", True)


def test_what_a_session_does_not_need_is_no_failure(endpoint, aws):
    aws.sts = aws.sagemaker = (403, "AccessDeniedException", "no")
    report = Report(environment(endpoint, aws))
    assert (report.code, report.by("skipped")) == (0, ["identity", "endpoint"])
    assert "sagemaker:DescribeEndpoint" in report.checks["endpoint"]["why"]


def test_a_control_plane_that_cannot_be_reached_is_no_failure(endpoint, aws):
    variables = environment(endpoint, aws)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    variables |= {"AWS_ENDPOINT_URL_STS": uri, "AWS_ENDPOINT_URL_SAGEMAKER": uri}
    report = Report(variables)
    assert (report.code, report.by("skipped")) == (0, ["identity", "endpoint", "clock"])


def test_other_regions_that_cannot_be_reached_are_not_waited_for(endpoint, aws):
    aws.deaf = True
    try:
        name, why, _ = Report(environment(endpoint, aws), "--timeout", "2", name="missing").cause
    finally:
        aws.heard.set()
    assert (name, why) == ("endpoint", "there is no endpoint 'missing' in us-east-1")


def test_a_host_of_aws_behind_a_proxy_that_is_not_there(endpoint):
    variables = environment(endpoint)
    del variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2"], variables["AWS_CA_BUNDLE"]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    variables["HTTPS_PROXY"] = f"http://user:proxy-password@127.0.0.1:{port}"
    report = Report(variables)
    name, why, _ = report.cause
    assert (name, f"http://***@127.0.0.1:{port} cannot be reached" in why) == ("proxy", True)
    assert report.checks["address"]["facts"]["host"] == "runtime.sagemaker.us-east-1.amazonaws.com"
    assert report.checks["address"]["facts"]["port"] == 8443
    assert report.checks["identity"]["state"] == "skipped"
    assert report.checks["identity"]["why"].startswith("no answer from sts: ")


def test_keys_that_are_not_accepted(endpoint, aws):
    words = f"The key {KEYS.access_key_id} is not known"
    aws.sts = (403, "InvalidClientTokenId", words)
    name, why, _ = Report(environment(endpoint, aws)).cause
    assert (name, "are not accepted" in why) == ("identity", True)


def test_a_container_that_refuses_says_what_it_may_be(endpoint, aws):
    report = Report(environment(endpoint, aws), "--model", "no-such-model")
    name, why, advice = report.cause
    assert name == "open"
    assert "HTTP 424" in why
    assert "/aws/sagemaker/Endpoints/local" in advice


@pytest.mark.parametrize("action", [EndEarly(), GoSilent()])
def test_audio_without_an_answer(aws, action):
    faults = [Fault(action, when=AfterMessages(1))]
    with LocalEndpoint(credentials=KEYS, faults=faults) as endpoint:
        report = Report(environment(endpoint, aws), "--timeout", "4")
    assert report.cause[0] == "audio"


@pytest.mark.parametrize("product", Product)
def test_every_product_is_asked_for_in_its_own_way(endpoint, product):
    report = Report(environment(endpoint), "--product", product)
    assert report.by("failed") == []
    assert endpoint.legs[0].path == PRODUCTS[product].path
    assert {each.value for each in Product} == set(PRODUCTS)


def test_settings_in_the_environment_that_break_a_rule_are_a_finding(endpoint):
    variables = environment(endpoint) | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": "nonsense"}
    name, why, _ = Report(variables).cause
    assert (name, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2" in why) == ("address", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["no_name"], "endpoint_name"), (["local", "--region", "nowhere"], "region"), ([], "Missing")],
)
def test_a_mistake_in_what_was_typed_is_exit_code_2(arguments, said):
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert (result.exit_code, said in result.output) == (2, True)


@pytest.mark.parametrize(
    ("given", "used", "source"),
    [
        (
            {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"},
            "eu-west-2",
            "AWS_DEFAULT_REGION",
        ),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "the profile"),
        (
            {"AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": "/nonexistent"},
            "eu-west-1",
            "AWS_REGION",
        ),
    ],
)
def test_where_the_region_comes_from(monkeypatch, tmp_path, given, used, source):
    (tmp_path / "aws-config").write_text("[default]\nregion = eu-west-3\n")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    case = doctoring.case_of(
        doctoring.Wanted(
            endpoint_name="local",
            region=None,
            profile=None,
            endpoint_uri=None,
            ca_bundle=None,
            target_variant=None,
            product="nova",
            model=None,
            within=1.0,
        )
    )
    assert (case.config.region, case.region_source) == (used, source)


@pytest.mark.parametrize("given", [[], ["--region", "auto"]])
def test_no_region_is_a_finding_and_what_needs_none_is_checked(endpoint, aws, given):
    variables = environment(endpoint, aws)
    del variables["AWS_REGION"]
    report = Report(variables, *given)
    name, why, advice = report.cause
    assert (name, why, advice) == ("region", NO_REGION, NAME_A_REGION)
    assert report.region is None
    assert report.by("ok") == ["versions", "credentials", "clock"]
    assert {report.checks[name]["why"] for name in report.by("skipped")} == {"region failed"}
    assert not endpoint.legs


@pytest.mark.parametrize("width", [60, 100])
def test_on_a_terminal_lines_are_wrapped_between_words_below_each_other(width):
    async def fails(_):
        raise FailedError("why " * 40, "try this " * 20)

    console = rich.console.Console(width=width, file=io.StringIO(), force_terminal=True)
    case = Case(None, PRODUCTS["nova"], "", 1.0, None)

    async def diagnose():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(doctoring, "examine", lambda case: examine(case, [Check("a", fails, "")]))
            return await doctoring.diagnose(console, case, as_json=False)

    assert not asyncio.run(diagnose())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).rstrip()
    *lines, empty, last = plain.splitlines()
    assert (empty, last) == ("", "Failed: a")
    assert len(lines) > 4
    assert all(len(line) <= width for line in lines)
    column = lines[0].index("why")
    assert all(not line[:column].strip() for line in lines[1:])
    said = " ".join(" ".join(line[column:] for line in lines).split())
    assert said == f"{'why ' * 40}What to do: {'try this ' * 20}".strip()


def test_every_check_has_advice_and_needs_what_comes_before_it():
    for at, check in enumerate(CHECKS):
        assert check.advice
        assert set(check.needs) <= set(NAMES[:at])


async def test_a_check_that_breaks_hides_no_other():
    async def breaks(_):
        raise RuntimeError("surprise")

    async def passes(_):
        return Told("fine")

    checks = [
        Check("one", breaks, "report it"),
        Check("two", passes, "", ("one",)),
        Check("three", passes, "", ("two",)),
        Check("four", passes, ""),
    ]
    case = Case(None, PRODUCTS["nova"], "", 1.0, None)
    found = [finding async for finding in examine(case, checks)]
    assert [each.state for each in found] == [
        State.FAILED,
        State.SKIPPED,
        State.SKIPPED,
        State.OK,
    ]
    assert found[0].why == "the check itself failed: RuntimeError: surprise"
    assert (found[2].why, found[0].advice) == ("one failed", "report it")


async def test_work_that_hangs_is_not_waited_for():
    case = Case(None, PRODUCTS["nova"], "", 0.05, None, spare=0.0)
    gate = threading.Event()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError, match=r"waiting takes longer than 0\.1 s"):
                await case.in_thread(gate.wait, "waiting")
    finally:
        gate.set()
