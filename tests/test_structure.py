"""The layers that docs/design.md draws: which module may import which, and no circle of imports.

A rule takes a root and yields its complaints as lines. It runs on this checkout, where it must have
none, and on copies with one violation each, where it must find it.
"""

import re
import shutil
from pathlib import Path

import pytest
from structure import (
    circles,
    crate_dependencies,
    crates,
    production,
    python_imports,
    python_modules,
    rust_imports,
    rust_modules,
    rust_paths,
    without_tests,
)

ROOT = Path(__file__).parent.parent

# Which crate may depend on which others of ours.
CRATES = {
    "leg": set(),
    "session": {"leg"},
    "wire": {"leg"},
    "net": {"session", "wire", "leg"},
    "local": {"wire", "leg"},
    "gateway": {"net", "session", "leg"},
    "python": {"session", "wire", "net", "local", "gateway", "leg"},
}
# What a crate's tests may depend on besides.
DEV_CRATES = {
    "net": {"local"},
    # One table of cases holds what both of them read.
    "local": {"session"},
}

# Which part of the Python package may import which others: a part is a module or a folder, and ""
# is the package's own __init__.
BASE = {"config", "errors"}
TOOLS = {
    "deferred",
    "discretion",
    "errands",
    "events",
    "exposition",
    "fallover",
    "invocation",
    "meters",
    "notices",
    "otel",
    "reporter",
    "stats",
    "wakeups",
}
PARTS = {
    "errors": set(),
    "config": {"errors"},
    "_native": BASE,
    **{name: {"_native", *BASE, *TOOLS} for name in TOOLS},
    "credentials": {"_native", *BASE, *TOOLS},
    "aws": {"credentials", "_native", *BASE, *TOOLS},
    "services": {"aws", "credentials", "_native", *BASE, *TOOLS},
    "driver": {"services", "aws", "credentials", "_native", *BASE, *TOOLS},
    "transport": {"driver", "services", "aws", "credentials", "_native", *BASE, *TOOLS},
    "factory": {"transport", *BASE, *TOOLS},
    "gateway": {"driver", "services", "_native", *BASE, *TOOLS},
    "local": {"_native", *BASE, *TOOLS},
    "doctor": {"transport", "aws", "credentials", "_native", *BASE, *TOOLS},
    "pipecat": {"transport", *BASE, *TOOLS},
    "conversations": {"factory", "transport", "local", *BASE},
    "ray": {"conversations", "deferred", *BASE},
    "load": {"factory", "transport", "local", "conversations", "events", "stats", *BASE},
    "cli": {
        "",
        "factory",
        "gateway",
        "local",
        "doctor",
        "conversations",
        "load",
        "exposition",
        "meters",
        "otel",
        *BASE,
    },
    "__main__": {"cli"},
    "": {"events", "factory", "transport", "_native", *BASE},
}

# Exceptions, each with its reason. One that is no longer needed is a complaint: the lists may only
# shrink.
UPWARDS = {
    ("transport", "factory"): "the package we stand in for has the factory in `transport`, too",
}
DEFERRED_CIRCLES = {
    ("factory", "transport"): "the same; the factory imports the transport when it makes one",
}
TYPING_CIRCLES: dict[tuple[str, ...], str] = {}

RUST_CIRCLES: dict[str, dict[tuple[str, str], str]] = {}

CARRIERS = re.compile("aws|sagemaker", re.IGNORECASE)


def crates_point_down(root):
    """Crates depend on those that CRATES names; tests may use a few more."""
    for crate in crates(root):
        found = crate_dependencies(root, crate)
        allowed = CRATES.get(crate)
        if allowed is None:
            yield f"{crate}: give the new crate its place in CRATES"
            continue
        for kind, more in (("normal", set()), ("build", set()), ("dev", DEV_CRATES.get(crate))):
            for other in sorted(found[kind] - allowed - (more or set())):
                yield f"{crate} must not depend on {other} ({kind})"


def rust_has_no_circles(root):
    """No circle of modules in a crate, once the uses that RUST_CIRCLES lists are left out."""
    for crate in crates(root):
        edges = {
            (each.source.removeprefix("crate::"), each.target.removeprefix("crate::"))
            for each in rust_imports(root, crate)
        }
        owed = RUST_CIRCLES.get(crate, {}).keys()
        for circle in circles(edges - owed):
            yield f"{crate}: a circle of {', '.join(circle)}"
        # Each exception must close a circle by itself.
        for edge in sorted(owed):
            if not any(set(edge) <= set(circle) for circle in circles(edges - (owed - {edge}))):
                yield f"{crate}: remove {edge} from RUST_CIRCLES"


def sessions_name_no_carrier(root):
    """The crate `session` does not name what carries its legs, in code or in comments."""
    source = root / "rust" / "session" / "src"
    for path in sorted(source.rglob("*.rs")):
        for number, line in enumerate(without_tests(path.read_text()).splitlines(), 1):
            if CARRIERS.search(line):
                yield f"{path.relative_to(root)}:{number} names a carrier: {line.strip()}"


def python_has_no_circles(root):
    """No circle of imports; those made later, or for types alone, may close the listed ones."""
    imports = python_imports(root)
    edges: set[tuple[str, str]] = set()
    known: set[tuple[str, ...]] = set()
    for kind, allowed in (
        ("module", {}),
        ("function", DEFERRED_CIRCLES),
        ("typing", TYPING_CIRCLES),
    ):
        edges |= {(each.source, each.target) for each in imports if each.kind == kind}
        found = {tuple(circle) for circle in circles(edges)}
        for circle in sorted(found - known - allowed.keys()):
            yield f"a circle of {kind} imports: {', '.join(circle)}"
        for circle in sorted(allowed.keys() - found):
            yield f"remove the circle {circle} from the list of {kind} imports"
        known |= found


def python_points_down(root):
    """Each part of the package imports only what PARTS names: at once, later, or for types."""
    upwards = set()
    for each in sorted(python_imports(root)):
        source, target = (name.partition(".")[0] for name in (each.source, each.target))
        if source == target:
            continue
        if source not in PARTS:
            yield f"{source}: give the new module its place in PARTS"
        elif (source, target) in UPWARDS:
            upwards.add((source, target))
        elif target not in PARTS[source]:
            yield f"{each.source} must not import {each.target} ({each.kind})"
    for edge in sorted(UPWARDS.keys() - upwards):
        yield f"remove {edge} from UPWARDS"


RULES = [
    crates_point_down,
    rust_has_no_circles,
    sessions_name_no_carrier,
    python_has_no_circles,
    python_points_down,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_stands(rule):
    assert list(rule(ROOT)) == []


def test_everything_was_read():
    assert {"", "config", "aws.client", "local.speech.model", "cli.app"} <= set(
        python_modules(ROOT)
    )
    assert set(crates(ROOT)) == set(CRATES)
    for crate, module in (("session", "resume::audio"), ("wire", "signing::chain")):
        assert f"crate::{module}" in rust_modules(ROOT, crate)
    found = {(each.source, each.target, each.kind) for each in python_imports(ROOT)}
    assert ("config", "errors", "module") in found
    assert ("factory", "transport", "function") in found
    assert ("aws.client", "config", "typing") in found
    used = {(each.source, each.target) for each in rust_imports(ROOT, "session")}
    assert ("crate::backoff", "crate::journal") not in used
    assert ("crate::session::sending", "crate::session") in used
    assert ("crate::session::sending", "crate::journal") in used


@pytest.fixture
def copy(tmp_path):
    """What the rules read of the checkout, to be spoilt."""
    for pattern in ("rust/*/Cargo.toml", "rust/*/src/**/*.rs", "python/**/*.py", "python/**/*.pyi"):
        for path in ROOT.glob(pattern):
            there = tmp_path / path.relative_to(ROOT)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)
    return tmp_path


SESSION, WIRE, PACKAGE = "rust/session/", "rust/wire/", "python/deepgram_sagemaker/"
DEPENDS = "[dependencies]\ndgsm-{}.workspace = true\n"
TYPING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "

VIOLATIONS = [
    (
        crates_point_down,
        "rust/leg/Cargo.toml",
        DEPENDS.format("wire"),
        "leg must not depend on wire",
    ),
    (
        crates_point_down,
        f"{SESSION}Cargo.toml",
        DEPENDS.format("wire"),
        "session must not depend on",
    ),
    (crates_point_down, f"{WIRE}Cargo.toml", DEPENDS.format("session"), "wire must not depend on"),
    (crates_point_down, "rust/net/Cargo.toml", DEPENDS.format("local"), r"net .* local \(normal\)"),
    (crates_point_down, "rust/local/Cargo.toml", DEPENDS.format("net"), "local must not depend on"),
    (
        crates_point_down,
        f"{SESSION}Cargo.toml",
        "[dependencies]\nwires = { path = '../wire', package = 'dgsm-wire' }\n",
        r"session must not depend on wire \(normal\)",
    ),
    (
        crates_point_down,
        f"{SESSION}Cargo.toml",
        "[dev-dependencies]\ndgsm-local.workspace = true\n",
        r"session must not depend on local \(dev\)",
    ),
    (
        crates_point_down,
        f"{SESSION}Cargo.toml",
        "[target.'cfg(unix)'.dependencies]\ndgsm-net.workspace = true\n",
        "session must not depend on net",
    ),
    (
        crates_point_down,
        "rust/fresh/Cargo.toml",
        "[dependencies]\n",
        "fresh: give the new crate",
    ),
    (
        crates_point_down,
        "rust/gateway/Cargo.toml",
        DEPENDS.format("local"),
        r"gateway must not depend on local \(normal\)",
    ),
    (
        rust_has_no_circles,
        f"{SESSION}src/journal.rs",
        "use crate::resume::{scan::{self, Node}, LegView};\n",
        "session: a circle of journal, resume",
    ),
    (
        rust_has_no_circles,
        f"{WIRE}src/signing/time.rs",
        "use super::{hex, chain::OutOfRange as Range};\n",
        r"wire: a circle of signing::chain, signing::time",
    ),
    (
        rust_has_no_circles,
        f"{WIRE}src/signing/time.rs",
        "fn f() -> super::chain::Chain { todo!() }\n",
        "wire: a circle of signing::chain, signing::time",
    ),
    (
        rust_has_no_circles,
        "rust/local/src/verify/events.rs",
        "use super::verify_request;\n",
        "local: a circle of verify, verify::events",
    ),
    (
        sessions_name_no_carrier,
        f"{SESSION}src/backoff.rs",
        "/// As SageMaker does.\n",
        "backoff.rs:1 names a carrier",
    ),
    (sessions_name_no_carrier, f"{SESSION}src/journal.rs", "struct AwsError;\n", "AwsError"),
    (
        python_has_no_circles,
        f"{PACKAGE}errors.py",
        "from .config import SageMakerConfig\n",
        "a circle of module imports: config, errors",
    ),
    (
        python_has_no_circles,
        f"{PACKAGE}errands.py",
        "def f():\n    from deepgram_sagemaker import credentials\n",
        "a circle of function imports: credentials, errands",
    ),
    (
        python_has_no_circles,
        f"{PACKAGE}local/stream.py",
        f"{TYPING}from .endpoint import LocalEndpoint\n",
        r"a circle of typing imports: .*local\.endpoint.*local\.stream",
    ),
    (
        python_has_no_circles,
        f"{PACKAGE}local/speech/segments.py",
        "from . import model\n",
        r"a circle of module imports: .*local\.speech\.model.*local\.speech\.segments",
    ),
    (
        python_points_down,
        f"{PACKAGE}local/endpoint.py",
        "from deepgram_sagemaker.transport import SageMakerTransport\n",
        r"local\.endpoint must not import transport \(module\)",
    ),
    (
        python_points_down,
        f"{PACKAGE}local/speech/model.py",
        "def f():\n    import deepgram_sagemaker.transport\n",
        r"local\.speech\.model must not import transport \(function\)",
    ),
    (
        python_points_down,
        f"{PACKAGE}aws/client.py",
        f"{TYPING}from ..transport import SageMakerTransport\n",
        r"aws\.client must not import transport \(typing\)",
    ),
    (
        python_points_down,
        f"{PACKAGE}cli/app.py",
        "from ..aws import client\n",
        r"cli\.app must not import aws\.client",
    ),
    (
        python_points_down,
        f"{PACKAGE}factory.py",
        "from .credentials import CredentialSource\n",
        "factory must not import credentials",
    ),
    (
        python_points_down,
        f"{PACKAGE}driver.py",
        "from . import factory\n",
        "driver must not import",
    ),
    (
        python_points_down,
        f"{PACKAGE}fresh.py",
        "from . import errors\n",
        "fresh: give the new module",
    ),
]


@pytest.mark.parametrize(
    ("rule", "file", "violation", "complaint"),
    VIOLATIONS,
    ids=[f"{rule.__name__}-{at}" for at, (rule, *_) in enumerate(VIOLATIONS)],
)
def test_a_violation_is_seen(copy, rule, file, violation, complaint):
    path = copy / file
    path.parent.mkdir(exist_ok=True)
    text = path.read_text() if path.exists() else ""
    table = violation.splitlines(keepends=True)[0]
    path.write_text(text.replace(table, violation) if table in text else f"{violation}\n{text}")
    complaints = list(rule(copy))
    assert any(re.search(complaint, each) for each in complaints), complaints


@pytest.mark.parametrize(
    ("name", "entry", "complaint"),
    [
        ("UPWARDS", ("errors", "local"), r"remove \('errors', 'local'\) from UPWARDS"),
        ("DEFERRED_CIRCLES", ("errors", "local"), "remove the circle .* of function imports"),
        ("TYPING_CIRCLES", ("errors", "local"), "remove the circle .* of typing imports"),
        ("RUST_CIRCLES", ("journal", "backoff"), r"session: remove \('journal', 'backoff'\)"),
    ],
)
def test_exceptions_only_shrink(monkeypatch, name, entry, complaint):
    listed = globals()[name]
    if name == "RUST_CIRCLES":
        monkeypatch.setitem(listed, "session", {entry: "invented"})
    else:
        monkeypatch.setitem(listed, entry, "invented")
    complaints = [each for rule in RULES for each in rule(ROOT)]
    assert len(complaints) == 1
    assert re.search(complaint, complaints[0])


def test_every_exception_says_why():
    lists = [UPWARDS, DEFERRED_CIRCLES, TYPING_CIRCLES, *RUST_CIRCLES.values()]
    assert all(reason for each in lists for reason in each.values())


def test_rust_is_read_as_it_is_compiled():
    code = production(
        "// use crate::comment;\n"
        "/* use crate::block; */\n"
        'const A: &str = "use crate::text; \\" // {";\n'
        'const B: &str = r#"use crate::raw; "{"#;\n'
        "fn f<'a>(x: &'a str) -> char { '{' }\n"
        "#[cfg(test)]\nmod tests { use crate::test; mod inner { use crate::deeper; } }\n"
        "#[cfg(test)]\nuse crate::helper;\n"
        "use crate::{one::{self, Two as Twice}, three::*};\n"
        "pub use child::Thing;\n"
        "fn g() { crate::four::five(); super::super::six(); child::seven(); other::eight() }\n"
    )
    assert {"::".join(each) for each in rust_paths(code, frozenset({"child"}))} == {
        "crate::one::self",
        "crate::one::Two",
        "crate::three::*",
        "child::Thing",
        "crate::four::five",
        "super::super::six",
        "child",
    }
