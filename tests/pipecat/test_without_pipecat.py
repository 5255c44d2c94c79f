"""What an environment without pipecat is told."""

import importlib.util

import deepgram_sagemaker.pipecat
import pytest

# This folder is found under the same name.
HERE = importlib.util.find_spec("pipecat")

pytestmark = pytest.mark.skipif(
    HERE is not None and HERE.origin is not None, reason="pipecat is installed here"
)


@pytest.mark.parametrize("name", deepgram_sagemaker.pipecat.__all__)
def test_each_name_says_what_to_install(name):
    with pytest.raises(ImportError, match=rf"{name} needs pipecat: pip install 'deepgram-") as told:
        getattr(deepgram_sagemaker.pipecat, name)
    assert told.value.name.split(".")[0] == "pipecat"
    assert isinstance(told.value.__cause__, ImportError)
