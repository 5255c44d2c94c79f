"""Which region a session is signed for: one given, the default, or the one that boto3 finds."""

import copy
import logging
import os
import pickle
from pathlib import Path

import boto3
import pytest
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.aws.endpoints import resolve_region
from deepgram_sagemaker.aws.shared_files import read_profile
from deepgram_sagemaker.errors import AuthenticationError, ValidationError
from deepgram_sagemaker.local import LocalEndpoint
from sessions import LISTEN_URL, client_of, session

LOGGER = "deepgram_sagemaker.transport"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.INFO, LOGGER)


def profile_says(region):
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[default]\nregion = {region}\n")


def found(**fields):
    config = SageMakerConfig("ep", **fields)
    return resolve_region(config, os.environ, read_profile(config.boto3_session))


def lines(caplog):
    return [each.message for each in caplog.records if "the region is" in each.message]


def test_a_region_given_counts_and_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    profile_says("eu-west-2")
    for region in ("us-west-2", "us-east-1"):
        assert found(region=region) == region
    assert lines(caplog) == []


def test_without_any_word_it_is_the_default_of_earlier_releases(caplog):
    assert found() == "us-west-2"
    assert lines(caplog) == []


@pytest.mark.parametrize("who", ["AWS_REGION", "AWS_DEFAULT_REGION", "profile", "session"])
def test_the_default_holds_and_what_says_otherwise_is_named(monkeypatch, caplog, who):
    fields, name = {}, who
    if who == "profile":
        profile_says("eu-west-1")
        name = "the profile 'default'"
    elif who == "session":
        fields = {"boto3_session": boto3.Session(region_name="eu-west-1")}
        name = "the boto3_session"
    else:
        monkeypatch.setenv(who, "eu-west-1")
    assert found(**fields) == "us-west-2"
    (line,) = lines(caplog)
    assert line == (
        f"the region is us-west-2, because none was given, and {name} says eu-west-1: give "
        'region="eu-west-1" if that is meant, or region="auto" for boto3\'s choice'
    )


def test_what_agrees_with_the_default_is_no_news(monkeypatch, caplog):
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert found() == "us-west-2"
    assert lines(caplog) == []


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_still_knows_that_no_region_was_given(monkeypatch, caplog, copied):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    config = copied(SageMakerConfig("ep"))
    assert config == SageMakerConfig("ep", "us-west-2")
    assert resolve_region(config, os.environ) == "us-west-2"
    assert len(lines(caplog)) == 1


def test_auto_is_what_boto3_finds(monkeypatch):
    """Each step names another region, and boto3 says the same."""
    monkeypatch.setenv("AWS_REGION", "eu-west-4")
    assert found(region="auto") == "eu-west-4"
    profile_says("eu-west-3")
    assert found(region="auto") == boto3.Session().region_name == "eu-west-3"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert found(region="auto") == boto3.Session().region_name == "eu-west-2"
    given = boto3.Session(region_name="eu-west-1")
    assert found(region="auto", boto3_session=given) == given.region_name == "eu-west-1"


def test_auto_that_finds_none_says_what_to_do():
    with pytest.raises(ValidationError, match=r"region='auto': boto3 finds no region: set") as told:
        found(region="auto")
    assert told.value.parameter == "region"


async def test_a_session_with_auto_is_signed_for_the_region_that_was_found(monkeypatch):
    async with LocalEndpoint(region="eu-central-1") as endpoint:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        config = endpoint.config(region="auto", boto3_session=None)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        heard = await session(client_of(config), 20)
        assert heard.numbers == list(range(20))
        assert endpoint.stats.signature_failures == 0


async def test_factory_transport_and_errors_know_the_region_that_was_found(monkeypatch):
    profile_says("eu-west-1")
    async with LocalEndpoint(region="eu-central-1") as endpoint:
        # The local endpoint's own session has a region, and a session's region comes first.
        config = endpoint.config(region="auto", boto3_session=None)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        factory = SageMakerTransportFactory(config=config)
        transport = factory(LISTEN_URL)
        assert factory.region == transport.region == "auto"
        with pytest.raises(AuthenticationError, match="signed for eu-west-1"):
            await transport.open()
        assert factory.region == transport.region == "eu-west-1"
        await transport.close()


async def test_a_session_with_auto_and_no_region_fails_at_once(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "unused")
    transport = SageMakerTransportFactory("ep", region="auto")(LISTEN_URL)
    with pytest.raises(ValidationError, match="boto3 finds no region"):
        await transport.open()
    await transport.close()


async def test_a_session_says_once_that_the_default_holds(monkeypatch, caplog):
    async with LocalEndpoint(region="us-west-2") as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        config = SageMakerConfig(
            endpoint.endpoint_name, endpoint_uri=endpoint.uri, ca_bundle=endpoint.ca_bundle
        )
        client = client_of(config)
        for _ in range(2):
            assert (await session(client, 10)).numbers == list(range(10))
        assert len(lines(caplog)) == 1
