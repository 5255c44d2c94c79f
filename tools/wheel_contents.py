"""Looks into wheels: `python tools/wheel_contents.py WHEEL...`. Needs nothing but Python.

A wheel must carry its licences, its notices and its SBOM, one native module for the Python that its
tag names, no path of the machine that built it, and not more bytes than MOST.
"""

import base64
import csv
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

MOST = 3_000_000
"""Bytes of a wheel: 2.86 MB when this was written."""

# Where the machines on which wheels are built keep sources: homes, build folders, compilers.
BUILDER = re.compile(
    # Strings lie in a program without anything between them: what is before a path says nothing,
    # unless the path could as well be the rest of another.
    rb"(?:/home|/root|/Users|/github|/__w|/private/var|/usr/src|/usr/lib/rustlib"
    rb"|(?<![\w.+\-\\/])(?:/project|/io|/build|/builds|/tmp)"
    rb"|[A-Za-z]:[\\/](?:Users|a|b|hostedtoolcache))[\\/][\w.+-]+"
    rb"|[\\/]\.cargo[\\/]|[\\/]registry[\\/]src[\\/]|path\+file:"
)
# What the Rust project and Debian write into the standard library that they ship: the same on every
# machine.
NEUTRAL = re.compile(rb"/(?:rustc/[0-9a-f]{40}|usr/src/rustc-[\d.]+)[\\/]library[\\/]")


def paths_of_builder(content: bytes) -> list[str]:
    """Return what looks like a path of the building machine, each occurrence once."""
    found = [match.group() for match in BUILDER.finditer(NEUTRAL.sub(b"", content))]
    # The folder of this run, wherever it is.
    for known in (Path.cwd(), Path.home()):
        if len(known.parts) > 1:
            found += re.findall(re.escape(str(known).encode()) + rb"[\\/][\w.+-]+", content)
    return sorted({each.decode(errors="replace") for each in found})


def complaints(path: Path) -> Iterator[str]:
    if (size := path.stat().st_size) > MOST:
        yield f"{size} bytes, and {MOST} are the most that it may have"
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        for needed in (
            f"{info}/licenses/LICENSE",
            f"{info}/licenses/licenses/THIRD-PARTY",
            f"{info}/sboms/deepgram-sagemaker.cdx.json",
            "deepgram_sagemaker/py.typed",
            "deepgram_sagemaker/_native.pyi",
        ):
            if needed not in names:
                yield f"has no {needed}"
        native = [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".dll"))]
        abi3 = "-abi3-" in path.name
        wanted = r"deepgram_sagemaker/_native\.(abi3\.so|pyd)" if abi3 else r"\S*/_native\.cp\S+"
        if len(native) != 1 or not re.fullmatch(wanted, native[0]):
            yield f"its native modules are {native}"
        for name in names:
            if found := paths_of_builder(wheel.read(name)) if _may_leak(name) else []:
                yield f"{name} has {len(found)} paths of the building machine: {found[:5]}"
        yield from _record(wheel, f"{info}/RECORD")
        version = info.removesuffix(".dist-info").rpartition("-")[2]
        for name in names:
            if name.startswith(f"{info}/sboms/"):
                component = json.loads(wheel.read(name))["metadata"]["component"]
                if component["version"] != version:
                    yield f"{name} is of {component['version']}, the wheel of {version}"


def _may_leak(name: str) -> bool:
    """What the build made; sources and README name paths on purpose."""
    return not name.endswith((".py", ".pyi", "/METADATA"))


def _record(wheel: zipfile.ZipFile, record: str) -> Iterator[str]:
    for name, digest, size in csv.reader(io.StringIO(wheel.read(record).decode())):
        if name == record:
            continue
        content = wheel.read(name)
        algorithm, _, wanted = digest.partition("=")
        found = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=")
        if found.decode() != wanted or len(content) != int(size):
            yield f"{name} is not what RECORD says"


def main(wheels: list[str]) -> int:
    failed = False
    for name in wheels:
        path = Path(name)
        found = list(complaints(path))
        failed |= bool(found)
        print(f"{path.name}: {path.stat().st_size} bytes" + ("" if found else ", as it should be"))
        for each in found:
            print(f"  {each}")
    return 1 if failed or not wheels else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
