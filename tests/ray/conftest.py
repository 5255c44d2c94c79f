"""One Ray on this machine for all tests of batches, with keys that local endpoints accept."""

import os
import tempfile

import pytest

pytest.importorskip("ray.data")

# As Ray reads them once, when it is imported.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"


def pytest_collection_modifyitems(items):
    """Ray has deprecated what it uses itself."""
    for item in items:
        if "/tests/ray/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"))


@pytest.fixture(scope="session")
def short_folder():
    """Where Ray may write. Sockets have short paths only, and pytest's folders long ones."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        yield folder


@pytest.fixture(scope="session")
def cluster(short_folder):
    """The address of a Ray with two processors."""
    import ray
    from deepgram_sagemaker.local import Credentials

    keys = Credentials()
    own = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    before = dict(os.environ)
    os.environ.update(own)
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
