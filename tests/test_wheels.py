"""What looks after wheels and releases: tools that refuse one, and the workflows that run them."""

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

INFO = "deepgram_sagemaker-1.0.0.dist-info"
NAME = "deepgram_sagemaker-1.0.0-cp312-abi3-manylinux_2_17_x86_64.whl"
WHOLE = {
    "deepgram_sagemaker/__init__.py": b"PATHS = ['/home/somebody/of/an/example']\n",
    "deepgram_sagemaker/_native.pyi": b"",
    "deepgram_sagemaker/py.typed": b"",
    "deepgram_sagemaker/_native.abi3.so": b"\x7fELFcrates/h2-0.4.20/src/lib.rs"
    b"rust/net/src/io/mod.rs/etc/ssl/certs/rustc/" + b"0a" * 20 + b"/library/std/src/io/mod.rs"
    b"/usr/src/rustc-1.96.0/library/std/src/io/error.rs",
    f"{INFO}/METADATA": b"Name: deepgram-sagemaker\n\n/home/somebody/is/in/an/example\n",
    f"{INFO}/licenses/LICENSE": b"MIT",
    f"{INFO}/licenses/licenses/THIRD-PARTY": b"MIT",
    f"{INFO}/sboms/deepgram-sagemaker.cdx.json": json.dumps(
        {"metadata": {"component": {"version": "1.0.0"}}}
    ).encode(),
}


def tool(name):
    found = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


wheel_contents = tool("wheel_contents")


def wheel(folder, *, name=NAME, damage=None, **changed):
    """A wheel with these files; `damage` names one that is not what RECORD says."""
    files = {path: content for path, content in (WHOLE | changed).items() if content is not None}
    record = f"{INFO}/RECORD,,\n"
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, content + b"!" if each == damage else content)
        archive.writestr(f"{INFO}/RECORD", record)
    return path


def test_a_wheel_as_it_should_be(tmp_path, capsys):
    assert wheel_contents.main([str(wheel(tmp_path))]) == 0
    assert "as it should be" in capsys.readouterr().out


NATIVE = "deepgram_sagemaker/_native.abi3.so"
SBOM = f"{INFO}/sboms/deepgram-sagemaker.cdx.json"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            {NATIVE: b"unwrap/home/me/src/h2-0.4/src/lib.rs"},
            r"_native\.abi3\.so has \d+ paths",
        ),
        ({NATIVE: rb"C:\Users\me\source\deepgram"}, r"_native\.abi3\.so has \d+ paths"),
        ({NATIVE: b"\0/usr/src/app/rust/net/src/lib.rs"}, r"_native\.abi3\.so has \d+ paths"),
        (
            {SBOM: b'{"a": "path+file:///x", "metadata": {"component": {"version": "1.0.0"}}}'},
            r"cdx\.json has \d+ paths",
        ),
        ({SBOM: b'{"metadata": {"component": {"version": "0.9.0"}}}'}, "is of 0.9.0, the wheel"),
        ({SBOM: None}, "has no .*cdx.json"),
        ({f"{INFO}/licenses/LICENSE": None}, "has no .*LICENSE"),
        ({f"{INFO}/licenses/licenses/THIRD-PARTY": None}, "has no .*THIRD-PARTY"),
        ({NATIVE: None}, r"native modules are \[\]"),
        ({"deepgram_sagemaker.libs/libssl.so": b""}, "native modules are .*libssl"),
    ],
)
def test_what_a_wheel_must_not_be(tmp_path, capsys, changed, complaint):
    assert wheel_contents.main([str(wheel(tmp_path, **changed))]) == 1
    assert re.search(complaint, capsys.readouterr().out)


def test_a_wheel_must_be_what_its_record_says(tmp_path, capsys):
    assert wheel_contents.main([str(wheel(tmp_path, damage=NATIVE))]) == 1
    assert "is not what RECORD says" in capsys.readouterr().out


def test_a_wheel_must_not_grow(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wheel_contents, "MOST", 100)
    assert wheel_contents.main([str(wheel(tmp_path))]) == 1
    assert "100 are the most" in capsys.readouterr().out


def test_a_free_threaded_wheel_has_a_module_of_its_own(tmp_path, capsys):
    own = {NATIVE: None, "deepgram_sagemaker/_native.cpython-314t-x86_64-linux-gnu.so": b"\x7fELF"}
    name = NAME.replace("cp312-abi3", "cp314-cp314t")
    assert wheel_contents.main([str(wheel(tmp_path, name=name, **own))]) == 0, capsys.readouterr()
    assert wheel_contents.main([str(wheel(tmp_path, name=name))]) == 1


linux_tags = tool("linux_tags")


@pytest.mark.parametrize(
    ("promised", "found", "complaint"),
    [
        ("manylinux2014_x86_64.manylinux_2_17_x86_64", "manylinux_2_17_x86_64", None),
        ("manylinux_2_34_x86_64", "manylinux_2_17_x86_64", None),
        ("musllinux_1_2_aarch64", "musllinux_1_1_aarch64", None),
        ("manylinux_2_17_x86_64", "manylinux_2_34_x86_64", "finds manylinux_2_34_x86_64"),
        ("manylinux2010_x86_64.manylinux_2_17_x86_64", "manylinux_2_17_x86_64", "manylinux2010"),
        ("manylinux_2_9_x86_64", "manylinux_2_17_x86_64", "finds manylinux_2_17_x86_64"),
        ("musllinux_1_1_x86_64", "musllinux_1_2_x86_64", "finds musllinux_1_2_x86_64"),
        ("musllinux_1_2_x86_64", "manylinux_2_17_x86_64", "finds manylinux_2_17_x86_64"),
        ("manylinux_2_17_aarch64", "manylinux_2_17_x86_64", "finds manylinux_2_17_x86_64"),
        ("manylinux_2_17_x86_64", "linux_x86_64", "finds linux_x86_64"),
        ("linux_x86_64", "manylinux_2_17_x86_64", "promises no user land"),
    ],
)
def test_a_name_must_not_promise_an_older_linux_than_auditwheel_finds(promised, found, complaint):
    wrong = linux_tags.complaints(f"deepgram_sagemaker-1.0.0-cp312-abi3-{promised}.whl", found)
    assert len(wrong) == (complaint is not None)
    assert (complaint or "") in "".join(wrong)


@pytest.mark.parametrize(
    ("report", "fails", "said"),
    [
        ({"overall_tag": "manylinux_2_17_x86_64"}, False, "needs libc.so.6 GLIBC_2.17"),
        ({"overall_tag": "manylinux_2_28_x86_64"}, True, "and auditwheel finds manylinux_2_28"),
        ({"error": "no\nELF"}, True, "wrong: no ELF"),
    ],
)
def test_what_auditwheel_finds_decides(tmp_path, monkeypatch, capsys, report, fails, said):
    versions = {"libc.so.6": ["GLIBC_2.9", "GLIBC_2.17", "GLIBC_2.2.5"]}
    (tmp_path / "auditwheel.py").write_text(
        "import json, sys\n"
        f"report = {report | {'versioned_symbols': versions}!r}\n"
        "assert sys.argv[1] == 'show'\n"
        "print(json.dumps(report))\n"
        "sys.exit('error' in report)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert linux_tags.main([NAME]) == fails
    assert said in capsys.readouterr().out


ALPINE = "deepgram_sagemaker-1.0.0-cp312-abi3-musllinux_1_2_aarch64.whl"
PATCHELF = """#!/bin/sh
[ "$1 $2 $3" = "--replace-needed libc.so libc.musl-aarch64.so.1" ] || exit 1
printf patched > "$4"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for patchelf")
def test_a_musl_wheel_is_whole_after_its_library_has_another_name(tmp_path, monkeypatch, capsys):
    path = wheel(tmp_path, name=ALPINE)
    (tmp_path / "patchelf").write_text(PATCHELF)
    (tmp_path / "patchelf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool("name_libc").rewrite(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.read(NATIVE) == b"patched"
        assert archive.read(f"{INFO}/METADATA") == WHOLE[f"{INFO}/METADATA"]
    # RECORD included.
    assert wheel_contents.main([str(path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("licence", "goes"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("Apache-2.0 / MIT", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0", False),
        ("Apache-2.0 AND MPL-2.0", False),
    ],
)
def test_which_licences_go_with_ours(licence, goes):
    third_party = tool("third_party")
    assert third_party.allowed(third_party.parsed(licence), third_party.ALLOWED) is goes


def test_the_sbom_has_each_crate_of_the_lock_that_the_notices_have():
    sbom = json.loads((ROOT / "licenses" / "deepgram-sagemaker.cdx.json").read_text())
    notices = (ROOT / "licenses" / "THIRD-PARTY").read_text()
    components = {(each["name"], each["version"]) for each in sbom["components"]}
    assert {name for name, _ in components} >= {"ring", "rustls", "h2", "tokio", "pyo3"}
    for name, version in components:
        assert f"\n{name} {version} (" in notices
    # What is tested with is not shipped.
    assert not {name for name, _ in components} & {"proptest", "criterion", "aws-sigv4"}


@pytest.mark.parametrize(
    ("system", "machine", "speech"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("linux", "riscv64", False),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", False),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ],
)
def test_the_extra_asks_for_the_speech_model_where_it_has_a_wheel(system, machine, speech):
    manifest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = manifest["project"]["optional-dependencies"]
    here = {"sys_platform": system, "platform_machine": machine}
    asked = {
        each.name
        for each in map(Requirement, extras["local"])
        if each.marker is None or each.marker.evaluate(here)
    }
    assert ("moonshine-voice" in asked) is speech
    assert {Requirement(each).name for each in extras["cli"]} <= asked


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_tools_exist(workflow):
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for each in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each
    for name in set(re.findall(r"\btools/[\w.-]+", text)):
        assert (ROOT / name).exists(), name
        if not name.endswith(".py"):
            assert (ROOT / name).stat().st_mode & 0o111, name


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        ("v1.2.3", "# Changelog\n\n## 1.2.3 (2026-01-01)\n", ""),
        ("v1.2.3", "# Changelog\n\n## [1.2.3] - 2026-01-01\n", ""),
        ("v1.2.4", "## 1.2.4\n", "the tag is v1.2.4 and the version in Cargo.toml is 1.2.3\n"),
        ("v1.2.3", "## 1.2.30\n\n## 11.2.3\n", "CHANGELOG.md has no section for 1.2.3\n"),
    ],
)
def test_a_release_has_one_version_and_its_changes(tmp_path, tag, changelog, said):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "check-release", tmp_path / "tools")
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    (tmp_path / "Cargo.toml").write_text(
        '[workspace]\nversion = "0.0.1"\n\n[workspace.package]\nversion = "1.2.3"\n\n'
        '[workspace.dependencies]\nversion = "9"\n'
    )
    run = subprocess.run(
        [tmp_path / "tools" / "check-release", tag],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (1 if said else 0, said)


CARGO = '[workspace.package]\nversion = "1.2.3"\nrust-version = "1.88"\n'
SAYS = "#!/bin/sh\necho 'rustc {} (0 2026-01-01)'\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for rustc")
@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "there is no cargo on PATH"),
        ({"cargo": SAYS}, "there is no rustc on PATH"),
        ({"cargo": SAYS, "rustc": SAYS.format("1.75.0")}, "this is rustc 1.75.0 (0 2026-01-01)"),
        ({"cargo": SAYS, "rustc": "#!/bin/sh\necho no toolchain >&2\n"}, "not run: no toolchain"),
        ({"cargo": SAYS, "rustc": SAYS.format("1.88.0")}, None),
        ({"cargo": SAYS, "rustc": SAYS.format("2.0.0")}, None),
    ],
)
def test_a_build_without_rust_says_what_is_missing(tmp_path, monkeypatch, programs, said):
    monkeypatch.syspath_prepend(ROOT / "tools" / "backend")
    backend = importlib.import_module("rust_first")
    (tmp_path / "Cargo.toml").write_text(CARGO)
    for name, content in programs.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    if said is None:
        assert backend.get_requires_for_build_wheel() == []
        return
    with pytest.raises(SystemExit) as refused:
        backend.get_requires_for_build_wheel()
    assert str(refused.value).startswith("deepgram-sagemaker has no wheel for this platform")
    assert "Rust 1.88 or newer" in str(refused.value)
    assert str(refused.value).endswith(said)
