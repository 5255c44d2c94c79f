"""Names that are imported when they are asked for."""

import sys

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "late"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from deepgram_sagemaker.deferred import deferred\n"
        "def reason(name, error):\n"
        "    return f'{name} needs more: {error.name}'\n"
        "homes = {'there': 'home', 'elsewhere': 'missing'}\n"
        "__getattr__ = deferred(__name__, homes, reason)\n"
    )
    (folder / "home.py").write_text("there = object()\n")
    (folder / "missing.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield pytest.importorskip("late")
    for name in [name for name in sys.modules if name.partition(".")[0] == "late"]:
        del sys.modules[name]


def test_a_name_is_imported_once_it_is_asked_for(package):
    assert "late.home" not in sys.modules
    assert package.there is sys.modules["late.home"].there
    assert vars(package)["there"] is package.there


def test_what_is_missing_is_said(package):
    with pytest.raises(AttributeError, match="module 'late' has no attribute 'nothing'"):
        _ = package.nothing
    with pytest.raises(ImportError, match="elsewhere needs more: no_such_module") as caught:
        _ = package.elsewhere
    assert caught.value.name == "no_such_module"
