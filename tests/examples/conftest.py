"""What the tests of the examples share."""

import importlib.util
import io
import sys

import pytest
from examples.programs import EXAMPLES, NO_DEVICE, Ran, calm, variables


@pytest.fixture
def called(monkeypatch, capsys, tmp_path):
    """Runs an example in this process, which is quicker; Ctrl-C and devices need one of their own.

    `sounddevice` is the text of the module that stands in its place: without PortAudio the real one
    cannot be imported.
    """

    def call(name, *arguments, endpoint=None, stdin="", sounddevice=NO_DEVICE):
        modules = tmp_path / "modules"
        modules.mkdir(exist_ok=True)
        (modules / "sounddevice.py").write_text(sounddevice)
        monkeypatch.syspath_prepend(modules)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        for variable, value in ({} if endpoint is None else variables(endpoint)).items():
            monkeypatch.setenv(variable, value)
        spec = importlib.util.spec_from_file_location("example", EXAMPLES / name)
        module = importlib.util.module_from_spec(spec)
        capsys.readouterr()
        said = ""
        try:
            spec.loader.exec_module(module)
            status = module.main()
        except SystemExit as end:
            # The interpreter prints a text, and 1 is the code.
            status, said = (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code, "")
        out, err = capsys.readouterr()
        return Ran(status, out, calm(err) + said)

    return call
