"""Fixtures of all tests. Each test starts in an environment without keys and settings."""

import itertools
import os
import signal
import sys

import pytest
from engines import have_ended
from hypothesis import HealthCheck, settings
from loops import LOOPS

# A shell has its background jobs ignore Ctrl-C, and what they start inherits that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE = 60
"""Seconds for one test, so that no test hangs."""

# Variables with which AWS tools, OpenSSL and HTTP clients find what belongs to this machine's user.
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

# Variables that change how Python behaves, how hypothesis draws, or how text is printed.
MOODS = (
    "PYTHON",
    "HYPOTHESIS_",
    "TTY_",
    "JUPYTER_",
    "TYPER_",
    "_TYPER_",
    "RICH_",
    "CLICOLOR",
)
MOOD = {
    *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TERMINAL_WIDTH"),
    *("COLUMNS", "LINES", "UNICODE_VERSION", "CI", "GITHUB_ACTIONS"),
}
# Where modules are found and where bytecode goes, which the user may need.
KEPT = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """Keep the user's settings away from tests and from the processes that tests start.

    This is permanent and happens before tests are collected, because rich and typer read some of
    the settings once, when they are imported. pytest has read its own by now.
    """
    for name in list(os.environ):
        if (name in MOOD or name.startswith(MOODS)) and name not in KEPT:
            del os.environ[name]


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
    """The SDK has one transport factory at a time; each test may set its own."""
    yield
    transport = sys.modules.get("deepgram.transport")
    if transport is not None:
        transport.restore_transport()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def nothing_left(request):
    """No test begins with the engine of an earlier one, whose sessions it would count."""
    yield
    if not request.node.stash.get(FAILED, False) and not have_ended():
        pytest.fail("left a session that goes on")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Drops what a failed test's frames hold, so that no other test fails for it."""
    result = yield
    if item.stash.get(FAILED, False):
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            sys.__dict__.pop(name, None)
        have_ended()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a test that hangs, where there are alarms; a marker may allow it more."""
    marker = item.get_closest_marker("patience")
    seconds = marker.args[0] if marker else PATIENCE

    def ring(_signal, _frame):
        # Not an Exception: the code under test must not suppress it.
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
    parser.addoption("--page", action="append", help="run the blocks of pages with this name only")
    parser.addoption("--schedules", type=int, help="how many random schedules of faults are run")
    parser.addoption("--loop", choices=LOOPS, help="the event loop of all asynchronous tests")
    parser.addoption("--first", type=int, default=200, help="the seed of the first of them")


class OneLoop:
    """Runs all asynchronous tests on one event loop. What calls `asyncio.run` has the default."""

    def __init__(self, name):
        self._name = name

    def pytest_asyncio_loop_factories(self):
        return {self._name: LOOPS[self._name]}


def pytest_collection_modifyitems(config, items):
    """Deselects the tests that only a full run has."""
    for marker in ("full", "witness"):
        left_out = [item for item in items if item.get_closest_marker(marker)]
        if left_out and not config.getoption(f"--{marker}"):
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]


def pytest_terminal_summary(terminalreporter):
    """The outcomes of random schedules, of all tests and all workers of a run."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    tallies = [
        tally
        for report in reports
        for name, tally in getattr(report, "user_properties", ())
        if name == "schedules" and report.when == "call"
    ]
    if tallies:
        from e2e.schedules import summary

        terminalreporter.section("random schedules")
        for line in summary(tallies):
            terminalreporter.write_line(line)


def pytest_configure(config):
    config.addinivalue_line("markers", "patience(seconds): how long a test may take")
    if config.getoption("--loop"):
        config.pluginmanager.register(OneLoop(config.getoption("--loop")))
    config.addinivalue_line("markers", "full: only in a full run (make test-full)")
    config.addinivalue_line("markers", "witness: only where asked for (make test-witness)")
    # Generated cases are the same ones every time; a full run looks for new ones. Neither depends
    # on how busy the machine is.
    calm = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("same", derandomize=True, **calm)
    settings.register_profile("new", derandomize=False, **calm)
    settings.load_profile("new" if config.getoption("--full") else "same")
