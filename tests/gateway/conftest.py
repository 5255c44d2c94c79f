"""What all tests of the gateway have in common."""

import pytest
from deepgram.transport import restore_transport


@pytest.fixture(autouse=True)
def _the_sdk_as_it_comes():
    """Deepgram's SDK connects by itself, whatever factory an earlier test has installed."""
    restore_transport()
