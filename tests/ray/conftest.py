"""One Ray on this machine for all tests of batches, with keys that local endpoints accept."""

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest
from deepgram_sagemaker.local import LocalEndpoint

# Ray reads them when it is imported: no keys in this user's home, nothing for its makers.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

if importlib.util.find_spec("ray.data") is None or not Path("/proc").exists():
    # Without Ray this folder is found under its name, so it is a part of Ray's that is looked for.
    # Without `/proc` nobody says which processes are workers.
    collect_ignore_glob = ["test_[!w]*.py"]
else:
    import ray
    import ray.data


# Ray uses what it has deprecated, and leaves open some of its logs and handles of its processes.
LEFT_OPEN = ("<_io.FileIO name='/tmp/ray-", "<function Popen.__del__")
NOT_OURS = [
    r"ignore::DeprecationWarning:ray\..*",
    *(
        f"ignore:Exception ignored in. {each}:pytest.PytestUnraisableExceptionWarning"
        for each in LEFT_OPEN
    ),
]

# Ray imports jsonschema, which imports this where it is installed, for a format that Ray does not
# use: seconds in each process. Other tools of the development environment have installed it.
SLOW = "rfc3987_syntax"


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/ray/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings(*NOT_OURS))


@pytest.fixture(scope="session")
def short_folder():
    """Where Ray may write. Sockets have short paths only, and pytest's folders long ones."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        yield folder


@pytest.fixture(scope="session")
def page_endpoint():
    """The endpoint of configs that do not say where it is."""
    with LocalEndpoint(["my-nova-endpoint", "my-aura-endpoint"]) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def cluster(short_folder, page_endpoint):
    """The address of a Ray with two processors, whose workers have keys for local endpoints."""
    keys = page_endpoint.credentials
    own = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": page_endpoint.uri,
        "AWS_CA_BUNDLE": page_endpoint.ca_bundle,
    }
    before = dict(os.environ)
    os.environ.update(own)
    without = Path(short_folder, "without")
    without.mkdir()
    (without / f"{SLOW}.py").write_text("raise ImportError\n")
    paths = [str(without), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    context = ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="WARNING",
        object_store_memory=100 * 1024 * 1024,
        _temp_dir=short_folder,
    )
    os.environ.clear()
    os.environ.update(before)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield context.address_info["address"]
    ray.shutdown()
