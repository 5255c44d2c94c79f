"""Reads what imports what, from the sources of a checkout: Python by `ast`, Rust by its paths."""

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "deepgram_sagemaker"


@dataclass(frozen=True, order=True)
class Import:
    """One module uses another. `kind` is `module`, `function` or `typing`."""

    source: str
    target: str
    kind: str = "module"


# Python -----------------------------------------------------------------------------------------


def python_modules(root: Path) -> dict[str, Path]:
    """Return the package's modules by their names below the package; its own name is ``""``."""
    package = root / "python" / PACKAGE
    found = {}
    for path in sorted([*package.rglob("*.py"), *package.glob("*.pyi")]):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def python_imports(root: Path) -> set[Import]:
    """Return every import of one module of the package by another."""
    modules = python_modules(root)
    return {each for name in modules for each in _imports_of(name, modules)}


def _imports_of(name: str, modules: dict[str, Path]) -> set[Import]:
    path = modules[name]
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    found = set()

    def note(target: str, names: list[str], kind: str) -> None:
        # `from . import errors` names a module; `from .errors import X` does not.
        for imported in names:
            below = f"{target}.{imported}".strip(".")
            used = below if below in modules else target
            # A module of a package runs after the package's __init__ anyhow.
            if used != name:
                found.add(Import(name, used, kind))

    def walk(node: ast.AST, kind: str) -> None:
        if isinstance(node, ast.ImportFrom):
            names = [each.name for each in node.names]
            if node.level:
                steps = package.split(".") if package else []
                base = steps[: len(steps) - (node.level - 1)]
                note(".".join([*base, *([node.module] if node.module else [])]), names, kind)
            elif node.module and node.module.split(".")[0] == PACKAGE:
                note(node.module[len(PACKAGE) + 1 :], names, kind)
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.split(".")[0] == PACKAGE:
                    note(each.name[len(PACKAGE) + 1 :], [""], kind)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                walk(child, "typing")
            for child in node.orelse:
                walk(child, kind)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                walk(child, "function" if inside and kind == "module" else kind)

    # A stub has only types to say.
    walk(_tree(path.read_text()), "typing" if path.suffix == ".pyi" else "module")
    return found


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


# Rust -------------------------------------------------------------------------------------------


def crates(root: Path) -> list[str]:
    """Return the names of the folders under `rust/` that are crates."""
    return sorted(each.parent.name for each in (root / "rust").glob("*/Cargo.toml"))


def crate_dependencies(root: Path, crate: str) -> dict[str, set[str]]:
    """Return our own crates that a crate depends on, by `normal`, `dev` and `build`."""
    manifest = tomllib.loads((root / "rust" / crate / "Cargo.toml").read_text())
    found: dict[str, set[str]] = {"normal": set(), "dev": set(), "build": set()}
    for table in (manifest, *manifest.get("target", {}).values()):
        for kind in found:
            key = "dependencies" if kind == "normal" else f"{kind}-dependencies"
            names = [
                told.get("package", name) if isinstance(told, dict) else name
                for name, told in table.get(key, {}).items()
            ]
            found[kind] |= {each[len("dgsm-") :] for each in names if each.startswith("dgsm-")}
    return found


def rust_modules(root: Path, crate: str) -> dict[str, Path]:
    """Return a crate's modules by their paths; the crate's root is `crate`."""
    source = root / "rust" / crate / "src"
    found = {}
    for path in sorted(source.rglob("*.rs")):
        parts = path.relative_to(source).with_suffix("").parts
        steps = parts[:-1] if parts[-1] in ("mod", "lib") else parts
        found["::".join(("crate", *steps))] = path
    return found


def rust_imports(root: Path, crate: str) -> set[Import]:
    """Return every use of one module by another of the same crate, tests apart."""
    modules = rust_modules(root, crate)
    found = set()
    for name, path in modules.items():
        children = {each[len(name) + 2 :] for each in modules if each.startswith(f"{name}::")}
        children = {each for each in children if "::" not in each}
        for used in rust_paths(production(path.read_text()), frozenset(children)):
            target = _module_of(_absolute(used, name), modules)
            if target != name:
                found.add(Import(name, target))
    return found


def _absolute(path: list[str], module: str) -> list[str]:
    here = module.split("::")
    match path[0]:
        case "crate":
            return path
        case "self":
            return here + path[1:]
        case "super":
            while path and path[0] == "super":
                here, path = here[:-1], path[1:]
            return here + path
        case _:
            return here + path


def _module_of(path: list[str], modules: dict[str, Path]) -> str:
    while len(path) > 1 and "::".join(path) not in modules:
        path = path[:-1]
    return "::".join(path)


_PATH = re.compile(r"(?<![\w:.])((?:crate|self|super)(?:\s*::\s*\w+)+)")
_USE = re.compile(r"\buse\s+([^;]+);")


@cache
def rust_paths(code: str, children: frozenset[str]) -> list[list[str]]:
    """Return the paths in code that lead to a module of the crate: from `use` and from anywhere."""
    found = []
    starts = {"crate", "self", "super", *children}
    for tree in _USE.findall(code):
        found += [path for path in _expand(tree) if path[0] in starts]
    rest = _USE.sub("", code)
    found += [re.split(r"\s*::\s*", each) for each in _PATH.findall(rest)]
    if children:
        one = re.compile(rf"(?<![\w:.])({'|'.join(sorted(children))})\s*::\s*\w")
        found += [[each] for each in one.findall(rest)]
    return found


def _expand(tree: str) -> list[list[str]]:
    """Return the paths of a use tree: `a::{b, c::D}` is `a::b` and `a::c::D`."""
    tree = tree.strip()
    head, brace, tail = tree.partition("{")
    prefix = [each for each in re.split(r"\s*::\s*", re.sub(r"\s+as\s+\w+", "", head)) if each]
    prefix = [each.strip() for each in prefix]
    if not brace:
        return [prefix]
    branches, depth, start = [], 0, 0
    inside = tail.rpartition("}")[0]
    for at, letter in enumerate(inside):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            branches.append(inside[start:at])
            start = at + 1
    branches.append(inside[start:])
    return [prefix + path for each in branches if each.strip() for path in _expand(each)]


_NOISE = re.compile(
    r"""//[^\n]*                            # a comment
      | /\*.*?\*/
      | b?r(?P<fence>\#*)".*?"(?P=fence)    # a string
      | b?"(?:\\.|[^"\\])*"
      | b?'(?:\\[^']+|[^'\\])'              # a character, and no lifetime
    """,
    re.VERBOSE | re.DOTALL,
)
_TEST = re.compile(r"#\[cfg\(test\)\]")


def without_tests(text: str) -> str:
    """Return Rust code with blanks in place of what only a test build has; lines stay in place."""
    code = _blank_noise(text)
    while mark := _TEST.search(code):
        end = mark.end()
        while code[end] not in "{;":
            end += 1
        depth = int(code[end] == "{")
        while depth:
            end += 1
            depth += (code[end] == "{") - (code[end] == "}")
        code = code[: mark.start()] + _blank(code[mark.start() : end + 1]) + code[end + 1 :]
        text = text[: mark.start()] + _blank(text[mark.start() : end + 1]) + text[end + 1 :]
    return text


@cache
def production(text: str) -> str:
    """Return Rust code with blanks in place of tests, comments and strings."""
    return _blank_noise(without_tests(text))


def _blank_noise(text: str) -> str:
    return _NOISE.sub(lambda hit: _blank(hit[0]), text)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


# Graphs -----------------------------------------------------------------------------------------


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, each sorted; no group is of one."""
    reach: dict[str, set[str]] = {}
    following: dict[str, set[str]] = {}
    for source, target in edges:
        following.setdefault(source, set()).add(target)
    for start in following:
        seen: set[str] = set()
        ahead = list(following[start])
        while ahead:
            at = ahead.pop()
            if at not in seen:
                seen.add(at)
                ahead += following.get(at, ())
        reach[start] = seen
    groups = {
        tuple(sorted({there for there in reach[start] if start in reach.get(there, ())}))
        for start in reach
        if start in reach[start]
    }
    return [list(group) for group in sorted(groups)]
