"""maturin's build backend, which says what is missing where there is no Rust.

pip compiles the sdist where no wheel fits. Without cargo, maturin would fetch a whole toolchain;
where it cannot, that ends in a traceback about certificates or names.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from maturin import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings=None):
    """Of Python, nothing more. The first that pip asks, so the place to say what is missing."""
    manifest = Path("Cargo.toml").read_text(encoding="utf-8")
    oldest = re.search(r'^rust-version = "(.*)"', manifest, re.MULTILINE)[1]
    advice = (
        "deepgram-sagemaker has no wheel for this platform, so it is compiled, and that needs "
        f"Rust {oldest} or newer (https://rustup.rs) and a C compiler"
    )
    for program in ("cargo", "rustc"):
        if shutil.which(program) is None:
            sys.exit(f"{advice}: there is no {program} on PATH")
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"rustc (\d+)\.(\d+)", said.stdout)
    if found is None:
        sys.exit(f"{advice}: rustc does not run: {said.stderr.strip()}")
    if tuple(map(int, found.groups())) < tuple(map(int, oldest.split("."))):
        sys.exit(f"{advice}: this is {said.stdout.strip()}")
    return []


get_requires_for_build_editable = get_requires_for_build_wheel
