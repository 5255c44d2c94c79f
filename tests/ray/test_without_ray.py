"""What an environment without Ray is told, and what is not loaded before it is needed."""

import json

import deepgram_sagemaker.ray
import pytest
from sessions import run_script

WITHOUT = """
import json, sys

for name in sys.argv[2:]:
    sys.modules[name] = None  # as if it were not installed
import deepgram_sagemaker.ray
before = sorted(name for name in sys.modules if name.split(".")[0] in ("ray", "pyarrow", "pandas"))
try:
    getattr(deepgram_sagemaker.ray, sys.argv[1])
except ImportError as error:
    print(json.dumps([str(error), error.name, before]))
"""


@pytest.mark.parametrize("name", deepgram_sagemaker.ray.__all__)
@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_each_name_says_what_to_install(name, missing):
    if (name, missing) == ("OutputBusyError", "ray"):
        pytest.skip("an error that needs no Ray")
    run = run_script(WITHOUT, name, missing)
    assert run.stderr == ""
    message, module, before = json.loads(run.stdout)
    assert message.startswith(f"{name} needs Ray Data: pip install 'deepgram-sagemaker[ray]'")
    assert module.split(".")[0] == missing
    assert [each for each in before if each != missing] == []
    assert set(deepgram_sagemaker.ray.__all__) <= set(dir(deepgram_sagemaker.ray))
