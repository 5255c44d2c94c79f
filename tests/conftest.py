"""What every test starts from: an environment in which there is nothing to find."""

import os
import signal
import sys

import pytest
from hypothesis import settings

PATIENCE = 60
"""Seconds for one test: nothing hangs, tests that show it included."""

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a test that hangs, where there are alarms; a marker may allow it more."""
    marker = item.get_closest_marker("patience")
    seconds = marker.args[0] if marker else PATIENCE

    def ring(_signal, _frame):
        # Not an Exception: what the code under test suppresses is not to end here.
        pytest.fail(f"took more than {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        return (yield)
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run whole matrices, not a selection")
    parser.addoption("--witness", action="store_true", help="also build and run other SDKs")
    parser.addoption("--write-failures", action="store_true", help="make docs/failures.md anew")


def pytest_collection_modifyitems(config, items):
    """Leaves out what only a full run has; said by pytest as deselected."""
    for marker in ("full", "witness"):
        left_out = [item for item in items if item.get_closest_marker(marker)]
        if left_out and not config.getoption(f"--{marker}"):
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]


def pytest_configure(config):
    config.addinivalue_line("markers", "patience(seconds): how long a test may take")
    config.addinivalue_line("markers", "full: only in a full run (make test-full)")
    config.addinivalue_line("markers", "witness: only where asked for (make test-witness)")
    # Generated cases are the same ones every time; a full run looks for new ones.
    settings.register_profile("same", derandomize=True)
    settings.load_profile("default" if config.getoption("--full") else "same")
