"""The shared AWS files: accepted and read as boto3 and the CLI do."""

import os
from pathlib import Path

import boto3
import botocore.configprovider
import botocore.session
import pytest
from deepgram_sagemaker import SageMakerConfig, SageMakerTransport
from deepgram_sagemaker.aws.endpoints import resolve_ca_bundle, resolve_endpoint_uri
from deepgram_sagemaker.aws.shared_files import SERVICE_ID, read_profile
from deepgram_sagemaker.errors import TLSError, ValidationError
from deepgram_sagemaker.local import LocalEndpoint
from sessions import client_of, session

REGIONAL = "https://runtime.sagemaker.us-west-2.amazonaws.com:8443"
FIPS = "https://runtime-fips.sagemaker.us-west-2.amazonaws.com:8443"
DUAL = "https://runtime.sagemaker.us-west-2.api.aws:8443"

# Files that a stricter parser refuses: the profile's name, then the file.
ACCEPTED = {
    "an indented comment": ("default", "[default]\n  # of ours\nuse_fips_endpoint = true\n"),
    "an indented comment behind a nested one": (
        "default",
        "[default]\ns3 =\n  max_concurrent_requests = 2\n  # of ours\nuse_fips_endpoint = true\n",
    ),
    "an indented key": ("default", "[default]\n  use_fips_endpoint = true\n"),
    "colons": ("default", "[default]\nregion: us-east-1\nuse_fips_endpoint: true\n"),
    "a quoted profile": ("my own", '[profile "my own"]\nuse_fips_endpoint = true\n'),
    "a single-quoted profile": ("my own", "[profile 'my own']\nuse_fips_endpoint = true\n"),
    "a profile with odd spaces": ("mine", "[profile   mine  ]\nuse_fips_endpoint = true\n"),
    "default as a profile": ("default", "[profile default]\nuse_fips_endpoint = true\n"),
    "capitals": ("default", "[default]\nUse_FIPS_Endpoint = True\n"),
    "no spaces": ("default", "[default]\nuse_fips_endpoint=true\n"),
    "a section of another kind": (
        "default",
        "[sso-session x y]\na = b\n[something]\nc = d\n[default]\nuse_fips_endpoint = true\n",
    ),
    "carriage returns": ("default", "[default]\r\nuse_fips_endpoint = true\r\n"),
    "a semicolon for a comment": ("default", "; of ours\n[default]\nuse_fips_endpoint = true\n"),
}


@pytest.fixture
def config_file(monkeypatch):
    """Writes `~/.aws/config`."""
    path = Path(os.environ["AWS_CONFIG_FILE"])

    def write(text):
        # As bytes, so that line ends stay.
        path.write_bytes(text.encode())

    return write


@pytest.fixture
def credentials_file():
    """Writes `~/.aws/credentials`."""
    return Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text


def uri(environ=None, **fields):
    config = SageMakerConfig("ep", **fields)
    return resolve_endpoint_uri(config, environ or {}, read_profile(config.boto3_session))


def bundle(environ=None, **fields):
    return resolve_ca_bundle(SageMakerConfig("ep", **fields), environ or {}, read_profile(None))


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_botocore_accepts_is_accepted_and_counts(config_file, monkeypatch, case):
    name, text = ACCEPTED[case]
    config_file(text)
    if name != "default":
        monkeypatch.setenv("AWS_PROFILE", name)
    # The witness: if botocore refused it, the case would show nothing.
    assert botocore.session.Session().get_config_variable("use_fips_endpoint") is True
    assert uri() == FIPS


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_session_opens_whatever_the_file_looks_like(config_file, monkeypatch, case):
    """With keys in the environment and everything else in code the file does not matter."""
    name, text = ACCEPTED[case]
    config_file(text)
    if name != "default":
        monkeypatch.setenv("AWS_PROFILE", name)
    async with LocalEndpoint() as endpoint:
        identity = endpoint.credentials
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_access_key)
        heard = await session(client_of(endpoint.config(boto3_session=None)), 5)
        assert heard.numbers == list(range(5))
        assert heard.errors == []


async def test_a_session_out_of_nothing_but_files(config_file, credentials_file, monkeypatch):
    """Keys, address, authorities and a profile's name with a space: as the CLI would find them."""
    async with LocalEndpoint("mine") as endpoint:
        identity = endpoint.credentials
        config_file(
            f"""
[profile "my own"]
  # Keys are in the other file.
  region: us-east-1
  ca_bundle: {endpoint.ca_bundle}
  services = near

[services near]
s3 =
  endpoint_url = http://127.0.0.1:1
{SERVICE_ID} =
  endpoint_url = {endpoint.uri}
"""
        )
        credentials_file(
            f"[my own]\naws_access_key_id: {identity.access_key_id}\n"
            f"aws_secret_access_key = {identity.secret_access_key}\n"
        )
        monkeypatch.setenv("AWS_PROFILE", "my own")
        config = SageMakerConfig("mine", region=endpoint.region)
        heard = await session(client_of(config), 10)
        assert heard.numbers == list(range(10))
        assert heard.errors == []


# Where to connect.

SERVICES = f"""
[default]
endpoint_url = https://all
services = ours
[services ours]
{SERVICE_ID} =
  endpoint_url = https://service
[profile bare]
endpoint_url = https://bare
[profile ignoring]
endpoint_url = https://all
ignore_configured_endpoint_urls = true
use_dualstack_endpoint = true
"""

OURS = f"AWS_ENDPOINT_URL_{SERVICE_ID.upper()}"


def test_which_uri_counts(config_file, monkeypatch):
    config_file(SERVICES)
    assert uri() == "https://service"
    assert uri({"AWS_ENDPOINT_URL": "https://everything"}) == "https://everything"
    assert uri({OURS: "https://ours", "AWS_ENDPOINT_URL": "https://everything"}) == "https://ours"
    assert uri({OURS: "", "AWS_ENDPOINT_URL": ""}) == "https://service"
    assert uri(endpoint_uri="https://code") == "https://code"
    assert uri({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}) == REGIONAL
    monkeypatch.setenv("AWS_PROFILE", "bare")
    assert uri() == "https://bare"
    monkeypatch.setenv("AWS_PROFILE", "ignoring")
    assert uri() == DUAL
    assert uri({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}) == "https://all"
    assert uri({OURS: "https://ours"}) == DUAL


@pytest.mark.parametrize("profile", ["default", "bare", "ignoring"])
@pytest.mark.parametrize("variables", [{}, {"AWS_ENDPOINT_URL": "https://e"}, {OURS: "https://o"}])
def test_it_is_what_botocore_would_find(config_file, monkeypatch, profile, variables):
    config_file(SERVICES)
    monkeypatch.setenv("AWS_PROFILE", profile)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    witness = botocore.session.Session()
    found = None
    if not witness.get_config_variable("ignore_configured_endpoint_urls"):
        found = botocore.configprovider.ConfiguredEndpointProvider(
            witness.full_config, witness.get_scoped_config(), SERVICE_ID.replace("_", "-")
        ).provide()
    assert uri(os.environ) == (found or DUAL)


@pytest.mark.parametrize(
    ("setting", "on"), [("use_fips_endpoint", FIPS), ("use_dualstack_endpoint", DUAL)]
)
def test_hosts_of_another_kind(config_file, setting, on):
    variable = f"AWS_{setting.upper()}"
    config_file(f"[default]\n{setting} = TRUE\n")
    assert uri() == on
    assert uri({variable: "false"}) == REGIONAL
    assert uri(**{setting: False}) == REGIONAL
    config_file(f"[default]\n{setting} = false\n")
    assert uri() == REGIONAL
    assert uri({variable: "true"}) == on
    assert uri(**{setting: True}) == on


def test_port_and_rules_hold_for_files_too(config_file):
    config_file(
        "[default]\nendpoint_url = https://vpce-1.runtime.sagemaker.us-west-2.vpce.amazonaws.com/\n"
    )
    assert uri() == "https://vpce-1.runtime.sagemaker.us-west-2.vpce.amazonaws.com:8443"
    config_file("[default]\nendpoint_url = http://localhost:4566\n")
    with pytest.raises(ValidationError, match=r"^endpoint_url \(profile 'default'\)=.*over TLS"):
        uri()


def test_asking_for_fips_is_not_overridden_in_silence(config_file):
    config_file("[default]\nendpoint_url = https://all\n")
    with pytest.raises(ValidationError, match="use_fips_endpoint=True contradicts endpoint_url"):
        uri(use_fips_endpoint=True)


def test_a_services_section_that_is_not_there(config_file):
    config_file("[default]\nservices = nowhere\nendpoint_url = https://all\n")
    with pytest.raises(ValidationError, match=r"no section \[services nowhere\]"):
        uri()
    # As in botocore: a file that is not needed is not missed.
    assert uri({"AWS_ENDPOINT_URL": "https://everything"}) == "https://everything"
    config_file(f"[default]\nservices = flat\n[services flat]\n{SERVICE_ID} = https://flat\n")
    assert uri() == REGIONAL


def test_which_authorities_count(config_file, tmp_path):
    in_file, in_variable, last = (tmp_path / name for name in ("a.pem", "b.pem", "c.pem"))
    for path in (in_file, in_variable, last):
        path.write_text("")
    config_file(f"[default]\nca_bundle = {in_file}\n")
    assert bundle() == str(in_file)
    assert bundle({"REQUESTS_CA_BUNDLE": str(last)}) == str(in_file)
    assert bundle({"AWS_CA_BUNDLE": str(in_variable)}) == str(in_variable)
    assert bundle(ca_bundle=last) == str(last)
    config_file("[default]\nca_bundle = /nowhere.pem\n")
    with pytest.raises(ValidationError, match=r"^ca_bundle \(profile 'default'\)=.*there is none"):
        bundle()


@pytest.mark.parametrize("where", ["a file", "the environment", "both", "nowhere"])
async def test_an_application_may_name_itself(config_file, monkeypatch, where):
    async with LocalEndpoint() as endpoint:
        config_file(f"[default]\nca_bundle = {endpoint.ca_bundle}\n")
        if where in ("a file", "both"):
            config_file(f"[default]\nca_bundle = {endpoint.ca_bundle}\nsdk_ua_app_id = filed\n")
        if where in ("the environment", "both"):
            monkeypatch.setenv("AWS_SDK_UA_APP_ID", "named\r\nx: y")
        heard = await session(client_of(endpoint.config(ca_bundle=None)), 1)
        assert heard.numbers == [0]
        (leg,) = endpoint.legs
        agent = leg.headers["user-agent"]
        # As the SDK writes it: nothing of it can become a header of its own.
        said = {"a file": ["app/filed"], "nowhere": []}.get(where, ["app/named--x--y"])
        assert [part for part in agent.split() if part.startswith("app/")] == said


# The profile in use.


def test_the_profile_of_the_session_that_is_given_counts(config_file, monkeypatch):
    config_file("[profile a]\nendpoint_url = https://a\n[profile b]\nendpoint_url = https://b\n")
    monkeypatch.setenv("AWS_PROFILE", "a")
    given = boto3.Session(profile_name="b")
    assert uri() == "https://a"
    assert uri(boto3_session=given) == "https://b"
    assert uri(boto3_session=given._session) == "https://b"

    class Foreign:
        def get_credentials(self):
            raise AssertionError

    assert uri(boto3_session=Foreign()) == "https://a"


def test_a_profile_that_is_not_there_and_a_file_that_is_none(config_file, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ValidationError, match="nobody"):
        uri()
    monkeypatch.delenv("AWS_PROFILE")
    config_file("no section\n")
    with pytest.raises(ValidationError, match="aws-config"):
        uri()


def test_without_any_file_there_is_nothing():
    assert uri() == REGIONAL
    assert bundle() is None


def test_a_profile_keeps_no_keys(config_file):
    config_file("[default]\naws_secret_access_key = swordfish\nuse_fips_endpoint = true\n")
    profile = read_profile(None)
    assert "swordfish" not in repr(profile)
    assert profile.get("use_fips_endpoint") == "true"


async def test_a_bundle_that_is_no_certificate_is_named(config_file, tmp_path):
    (tmp_path / "empty.pem").write_text("nothing\n")
    config_file(f"[default]\nca_bundle = {tmp_path / 'empty.pem'}\n")
    async with LocalEndpoint() as endpoint:
        config = endpoint.config(ca_bundle=None)
        transport = SageMakerTransport(config, "v1/listen", "")
        with pytest.raises(TLSError, match=r"empty\.pem"):
            await transport.open()
        await transport.close()
