"""Collects what the wheels contain of others: `python tools/third_party.py [--check]`.

Writes two files, both a function of Cargo.lock alone, that every wheel and the sdist carry:

- `licenses/THIRD-PARTY`: the licences and notices of all crates in the extension, on any platform;
- `licenses/deepgram-sagemaker.cdx.json`: the CycloneDX SBOM.

Fails when a crate has no licence that goes with MIT, or no text of it. With `--check` nothing is
written: fails when the files are not what they would be.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import AND, OR, get_spdx_licensing
from packageurl import PackageURL

ROOT = Path(__file__).parent.parent
NOTICES = ROOT / "licenses" / "THIRD-PARTY"
SBOM = ROOT / "licenses" / "deepgram-sagemaker.cdx.json"

EXTENSION = "dgsm-python"
TARGETS = (
    *("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
    *("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"),
    *("x86_64-apple-darwin", "aarch64-apple-darwin"),
    *("x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"),
)

# A program under MIT may contain what is under these: they ask for their notice and no more.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

SPDX = get_spdx_licensing()
LICENCE_FILE = re.compile(r"(licen[sc]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Alternatives to MIT: where MIT is offered, it is what we take.
ALTERNATIVE = re.compile(r"apache|unlicense|-isc$", re.IGNORECASE)

HEADER = """\
deepgram-sagemaker is licensed under the MIT licence: see LICENSE.

Its native extension contains parts of the Rust crates below, on one platform or another. Where a
crate offers a choice of licences that includes MIT, it is used under MIT. The exact versions and
their checksums are in the SBOM beside this file, in deepgram-sagemaker.cdx.json or `sboms/`.
"""


@dataclass
class Crate:
    """A crate of the extension's, as cargo knows it."""

    name: str
    version: str
    licence: str
    folder: Path
    licence_file: str | None
    checksum: str | None
    needs: set[str] = field(default_factory=set)

    @property
    def ours(self) -> bool:
        return self.checksum is None

    @property
    def purl(self) -> PackageURL:
        return PackageURL("cargo", name=self.name, version=self.version)


def cargo(*arguments: str) -> str:
    command = ("cargo", *arguments, "--locked")
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def collect() -> dict[str, Crate]:
    """Return the crates whose code is in the extension on any platform, by their ids."""
    used = set()
    for target in TARGETS:
        listed = cargo(
            *("tree", "--quiet", "--package", EXTENSION, "--edges", "normal"),
            *("--target", target, "--prefix", "none", "--format", "{p}"),
        )
        used |= {tuple(line.split()[:2]) for line in listed.splitlines()}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    checksums = {(each["name"], each["version"]): each.get("checksum") for each in lock["package"]}
    metadata = json.loads(cargo("metadata", "--quiet", "--format-version", "1"))
    crates = {
        each["id"]: Crate(
            each["name"],
            each["version"],
            each["license"] or "",
            Path(each["manifest_path"]).parent,
            each["license_file"],
            checksums[each["name"], each["version"]],
        )
        for each in metadata["packages"]
        if (each["name"], f"v{each['version']}") in used
    }
    if len(crates) != len(used):
        sys.exit(f"cargo lists {len(used)} crates and describes {len(crates)} of them")
    for node in metadata["resolve"]["nodes"]:
        if crate := crates.get(node["id"]):
            crate.needs = {
                each["pkg"]
                for each in node["deps"]
                if each["pkg"] in crates and any(kind["kind"] is None for kind in each["dep_kinds"])
            }
    return crates


def parsed(licence: str):
    """The SPDX expression; `A / B` is how crates once wrote `A OR B`."""
    return SPDX.parse(licence.replace(" / ", " OR "), validate=True, strict=True)


def allowed(expression: object, names: set[str]) -> bool:
    """Whether these licences alone fulfil the expression."""
    if isinstance(expression, OR):
        return any(allowed(each, names) for each in expression.args)
    if isinstance(expression, AND):
        return all(allowed(each, names) for each in expression.args)
    return str(expression) in names


def texts(crate: Crate) -> list[str]:
    """The licence texts that come with a crate, also of what it has from others."""
    found = [
        path
        for path in sorted(crate.folder.rglob("*"))
        if LICENCE_FILE.match(path.name)
        and path.suffix.lower() in ("", ".md", ".txt", ".0")
        and path.is_file()
        and not {"tests", "examples", "benches"} & set(path.relative_to(crate.folder).parts)
    ]
    if crate.licence_file:
        found.append(crate.folder / crate.licence_file)
    if allowed(parsed(crate.licence), {"MIT", "Unicode-3.0"}):
        found = [path for path in found if not ALTERNATIVE.search(path.stem)] or found
    # Read with universal newlines; the end of a line is no place for blanks.
    read = (path.read_text(encoding="utf-8").strip() for path in found)
    return list(dict.fromkeys(re.sub(r"[ \t]+(?=\n)", "", each) for each in read))


def notices(crates: list[Crate]) -> str:
    holders: dict[str, list[str]] = defaultdict(list)
    wordings: dict[str, str] = {}
    for crate in crates:
        for text in texts(crate):
            words = " ".join(text.split())
            wordings.setdefault(words, text)
            holders[words].append(f"{crate.name} {crate.version} ({crate.licence})")
    # The standard library is in every Rust program, and no crate of Cargo's.
    ours = (ROOT / "LICENSE").read_text(encoding="utf-8")
    rust = "Copyright (c) The Rust Project Contributors\n\n" + ours[ours.index("Permission") :]
    words = " ".join(rust.split())
    wordings[words] = rust.strip()
    holders[words].append("the Rust standard library (MIT OR Apache-2.0)")
    parts = [HEADER]
    for words, names in sorted(holders.items(), key=lambda each: each[1]):
        parts.append("-" * 100 + "\n" + "\n".join(names) + "\n\n" + wordings[words] + "\n")
    return "\n".join(parts)


def sbom(crates: dict[str, Crate]) -> str:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    version = manifest["workspace"]["package"]["version"]
    whole = Component(
        name="deepgram-sagemaker",
        version=version,
        type=ComponentType.LIBRARY,
        licenses=[LicenseExpression("MIT")],
        purl=PackageURL("pypi", name="deepgram-sagemaker", version=version),
        bom_ref="deepgram-sagemaker",
    )
    bom = Bom()
    bom.metadata.component = whole
    parts = {}
    for key, crate in crates.items():
        if crate.ours:
            parts[key] = whole
            continue
        parts[key] = Component(
            name=crate.name,
            version=crate.version,
            type=ComponentType.LIBRARY,
            licenses=[LicenseExpression(str(parsed(crate.licence)))],
            purl=crate.purl,
            bom_ref=str(crate.purl),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=crate.checksum)],
        )
        bom.components.add(parts[key])
    # The workspace's own crates are one component: they are not published alone.
    needed = defaultdict(set)
    for key, crate in crates.items():
        name = parts[key].bom_ref.value
        needed[name] |= {parts[each].bom_ref.value for each in crate.needs} - {name}
    by_name = {each.bom_ref.value: each for each in parts.values()}
    for name, others in needed.items():
        bom.register_dependency(by_name[name], [by_name[each] for each in others])
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    # A time and a random number would make every build another one.
    del made["serialNumber"], made["metadata"]["timestamp"]
    text = json.dumps(made, indent=1, sort_keys=True) + "\n"
    if (error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        sys.exit(f"the SBOM is not valid: {error}")
    return text


def main() -> None:
    crates = collect()
    others = sorted((each for each in crates.values() if not each.ours), key=lambda it: it.name)
    refused = [
        f"{each.name} {each.version}: {each.licence or 'no licence'}"
        for each in others
        if not each.licence or not allowed(parsed(each.licence), ALLOWED)
    ]
    if refused:
        sys.exit("licences that are not known to go with MIT:\n" + "\n".join(refused))
    if silent := [each.name for each in others if not texts(each)]:
        sys.exit(f"crates without the text of their licence: {', '.join(silent)}")
    made = {NOTICES: notices(others), SBOM: sbom(crates)}
    if "--check" in sys.argv[1:]:
        stale = [
            str(path.relative_to(ROOT))
            for path, text in made.items()
            if not path.exists() or path.read_text(encoding="utf-8") != text
        ]
        if stale:
            sys.exit(f"not up to date: {', '.join(stale)}; run `make licenses`")
        return
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(others)} crates: {', '.join(str(path.relative_to(ROOT)) for path in made)}")


if __name__ == "__main__":
    main()
