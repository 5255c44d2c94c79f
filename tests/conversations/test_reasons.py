"""Which errors speak to people, and what is said of the others."""

import asyncio
import os
import sys

import pytest
from botocore.exceptions import NoRegionError, ProfileNotFound
from deepgram_sagemaker.conversations.reasons import ConversationError, reason_of
from deepgram_sagemaker.errors import ValidationError
from deepgram_sagemaker.local import LocalEndpoint


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "a.wav"),
            "No such file or directory: a.wav",
        ),
        (OSError("the port is taken"), "the port is taken"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("must be\n  one"), "must be one"),
        (ImportError("no local endpoint"), "no local endpoint"),
        (ConversationError("the service says: no"), "the service says: no"),
        (ValidationError("must be a region"), "must be a region"),
        (ProfileNotFound(profile="nope"), "The config profile (nope) could not be found"),
        (NoRegionError(), "You must specify a region."),
        (LookupError("surprise"), "unexpected LookupError: surprise"),
        (RuntimeError("a\nb"), "unexpected RuntimeError: a b"),
    ],
)
def test_an_error_is_one_line_for_people(error, reason):
    assert reason_of(error) == reason


@pytest.mark.parametrize("command", [["doctor", "local"], ["local", "--port", "0"]])
async def test_a_reader_that_has_enough_is_no_traceback(command):
    with LocalEndpoint() as endpoint:
        variables = {
            "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_access_key,
            "AWS_REGION": endpoint.region,
            "AWS_CA_BUNDLE": endpoint.ca_bundle,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
        }
        arguments = [*command, *(["--model", "watermark"] if command[0] == "local" else [])]
        reading, writing = os.pipe()
        os.close(reading)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker", *arguments),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | variables,
        )
        os.close(writing)
        _, errors = await asyncio.wait_for(process.communicate(), 40)
    assert (process.returncode, errors) == (1, b"")
