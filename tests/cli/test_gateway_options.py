"""What `gateway` takes, and what it answers to mistakes. Nothing is started."""

import json
import sys

import pytest
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.gateway_keys import VARIABLE, NamedKey
from deepgram_sagemaker.cli.gateway_settings import PATHS, GatewaySettings, is_origin
from deepgram_sagemaker.config import Endpoint
from typer.testing import CliRunner

KEY = "0123456789abcdef0123456789abcdef"


def invoke(*arguments, **environment):
    runner = CliRunner(env={"COLUMNS": "200", VARIABLE: "", **environment})
    return runner.invoke(app, ["gateway", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name an endpoint, or try the gateway without one: --demo"),
        (["-e", "mine", "--demo"], "the demo has its own endpoint"),
        (["--demo", "--workers", "2"], "the demo has its own endpoint"),
        (["--demo", "--keys", __file__], "the demo is for this machine alone"),
        (["--demo", "--host", "0.0.0.0"], "the demo is for this machine alone"),
        (["-e", "mine", "--host", "0.0.0.0"], "needs keys: give --keys FILE, or DEEPGRAM_GATEWAY"),
        (["-e", "mine", "--host", "::"], "which others can reach, needs keys"),
        (["-e", "mine", "--host", "192.0.2.1"], "which others can reach, needs keys"),
        (["-e", "mine", "--host", "example.com"], "'example.com' is not an IP address"),
        (["-e", "mine", "--route", "v1/speak"], "must be PATH=NAME[@REGION]"),
        (["-e", "mine", "--route", "v1/speek=x"], "the path must be one of v1/listen"),
        (["--route", "v1/speak=x", "--route", "/v1/speak=y"], "v1/speak has two endpoints"),
        (["-e", "mine", "--origin", "https://example.com/"], "must be as browsers send it"),
        (["-e", "mine", "--origin", "example.com"], "must be as browsers send it"),
        (["-e", "mine", "--tls-key", __file__], "go together"),
        (["-e", "mine", "--tls-certificate", __file__], "go together"),
        (["-e", "mine", "--keys", "/nonexistent/keys"], "No such file or directory"),
        (["-e", "mine", "--workers", "0"], "greater than or equal to 1"),
        (["-e", "mine", "--drain-timeout", "nan"], "--drain-timeout"),
        (["-e", "my endpoint", "--region", "us-east-1"], "my endpoint"),
        (["-e", "mine", "--region", "Mars"], "Mars"),
        (["-e", "mine", "--region", "us-east-1", "--fallback", "a b"], "fallbacks[0]"),
        (["-e", "mine"], "--region"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_started(arguments, said):
    result = invoke(*arguments)
    assert (result.exit_code, said in " ".join(result.output.split())) == (2, True), result.output


def test_a_file_of_keys_with_a_mistake_is_named_and_no_key(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"one:{KEY}\none two:{KEY}2\n")
    result = invoke("-e", "mine", "--keys", file)
    assert result.exit_code == 2
    assert "line 2" in result.output
    assert KEY not in result.output


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.0.1", "::1"])
def test_loopback_needs_no_keys(host):
    # It gets as far as the region, which is missing.
    result = invoke("-e", "mine", "--host", host)
    assert "needs keys" not in result.output
    assert "region" in result.output


def test_settings_travel_to_workers_and_nothing_is_lost():
    settings = GatewaySettings(
        endpoint_name="mine",
        fallbacks=("spare@us-west-2",),
        routes={"v1/speak": "aura"},
        keys=(NamedKey("one", KEY),),
        origins=("https://example.com",),
        port=0,
        drain_timeout=1.5,
    )
    assert GatewaySettings.from_json(settings.to_json()) == settings
    assert GatewaySettings.from_json(GatewaySettings().to_json()) == GatewaySettings()
    assert KEY in json.dumps(json.loads(settings.to_json()))
    assert KEY not in repr(settings)


def test_paths_have_their_endpoints():
    settings = GatewaySettings(
        endpoint_name="nova",
        region="us-east-1",
        target_variant="blue",
        fallbacks=("nova@us-west-2", "spare"),
        routes={"v1/speak": "aura@eu-west-1", "v2/speak": "aura@eu-west-1"},
        max_connections=1234,
    )
    configs = settings.configs()
    assert tuple(configs) == PATHS
    main = configs["v1/listen"]
    assert (main.endpoint_name, main.region, main.target_variant) == ("nova", "us-east-1", "blue")
    assert main.fallbacks == (Endpoint("nova", "us-west-2"), Endpoint("spare"))
    aura = configs["v1/speak"]
    assert (aura.endpoint_name, aura.region, aura.target_variant) == ("aura", "eu-west-1", None)
    assert aura.fallbacks == ()
    # One endpoint is one config: its limits and credentials are shared.
    assert configs["v2/speak"] is aura
    assert configs["v2/listen"] is configs["v1/agent/converse"] is main
    # The operator's limit is on connections, and each has a stream.
    assert {each.max_concurrency for each in configs.values()} == {1234}


def test_without_a_main_endpoint_only_routes_are_served():
    settings = GatewaySettings(region="us-east-1", routes={"v1/speak": "aura"})
    assert list(settings.configs()) == ["v1/speak"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://example.com", True),
        ("http://localhost:3000", True),
        ("http://[::1]:3000", True),
        ("*", True),
        ("https://example.com/", False),
        ("https://example.com/app", False),
        ("https://example.com?x", False),
        ("https://user@example.com", False),
        ("https://example.com:port", False),
        ("file://", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins_are_as_browsers_send_them(text, is_one):
    assert is_origin(text) is is_one


@pytest.mark.skipif(sys.platform == "linux", reason="Linux shares ports")
def test_elsewhere_workers_are_refused():
    assert "share a port on Linux alone" in invoke("-e", "mine", "--workers", 2).output
