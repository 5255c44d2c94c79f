"""What the tests of the examples share."""

import importlib.util
import sys

import pytest
from examples.programs import EXAMPLES, Ran

# Without PortAudio it cannot be imported; the tests that record have a device in its place.
DEVICE = """
class PortAudioError(Exception):
    pass

class RawInputStream:
    def __init__(self, **_):
        raise PortAudioError("no device")
"""


@pytest.fixture
def called(monkeypatch, capsys, tmp_path):
    """Calls an example's `main` in this process: for what ends before anything is connected."""

    def call(name, *arguments):
        modules = tmp_path / "modules"
        modules.mkdir(exist_ok=True)
        (modules / "sounddevice.py").write_text(DEVICE)
        monkeypatch.syspath_prepend(modules)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        spec = importlib.util.spec_from_file_location("example", EXAMPLES / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        try:
            status = module.main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return Ran(status, out, err)

    return call
