"""What every test starts from: an environment in which there is nothing to find."""

import os
import sys

import pytest

# Where AWS tools, OpenSSL and HTTP clients would look for what belongs to this machine's user.
FOREIGN = (
    "AWS_",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """No keys, no shared files, no metadata server, no proxy, no authorities but the system's."""
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def unpatched_sdk():
    """The SDK takes one transport factory at a time: each test may bring its own."""
    yield
    transport = sys.modules.get("deepgram.transport")
    if transport is not None:
        transport.restore_transport()
