"""Measures how much an installation takes on disk, beside the release before: a Markdown table.

    make wheel
    .venv/bin/python tools/installed_size.py dist/*.whl

Each row is a fresh environment into which pip has installed from the package index, bytecode
included, without pip itself. It takes about a minute and needs the network.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PUBLISHED = "deepgram-sdk>=7.8.1,<8", "deepgram-sagemaker==0.4.0"


class Installed(NamedTuple):
    """What an environment has got: distributions, bytes, and bytes of our own package."""

    packages: int
    size: int
    own: int


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def install(*requirements: str) -> Installed:
    """Install into a fresh environment and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        (packages,) = Path(folder, "lib").glob("python3*/site-packages")
        empty, before = len(list(packages.glob("*.dist-info"))), size_of(packages)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        return Installed(
            len(list(packages.glob("*.dist-info"))) - empty,
            size_of(packages) - before,
            size_of(packages / "deepgram_sagemaker"),
        )


def main(wheel: str) -> None:
    """Print the table."""
    rows = {"0.4.0, with the Deepgram SDK": PUBLISHED}
    rows |= {
        f"`deepgram-sagemaker{extra}`": (f"{Path(wheel).resolve()}{extra}",)
        for extra in ("", "[cli]", "[local]")
    }
    print("| Installed | Packages | Size | Of this, our own |")
    print("| --- | ---: | ---: | ---: |")
    for name, requirements in rows.items():
        found = install(*requirements)
        print(
            f"| {name} | {found.packages} | {found.size / 1e6:.0f} MB | {found.own / 1e6:.1f} MB |"
        )


if __name__ == "__main__":
    main(sys.argv[1])
