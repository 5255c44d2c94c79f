"""Gives the C library in musllinux wheels the name that Alpine gives it: WHEEL...

zig links against musl's `libc.so`. Alpine and auditwheel call it `libc.musl-x86_64.so.1`; musl's
loader takes both for itself. A wheel that has the name already keeps it. Needs patchelf.
"""

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def renamed(module: bytes, architecture: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.so")
        path.write_bytes(module)
        name = f"libc.musl-{architecture}.so.1"
        subprocess.run(["patchelf", "--replace-needed", "libc.so", name, path], check=True)
        return path.read_bytes()


def line_of_record(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def rewrite(wheel: Path) -> None:
    architecture = wheel.stem.rpartition("musllinux_1_2_")[2]
    with zipfile.ZipFile(wheel) as old:
        infos = old.infolist()
        files = {each.filename: old.read(each) for each in infos}
    (native,) = (name for name in files if name.endswith(".so"))
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    files[native] = renamed(files[native], architecture)
    lines = files[record].decode().splitlines()
    lines = [
        line_of_record(native, files[native]) if line.startswith(f"{native},") else line
        for line in lines
    ]
    files[record] = ("\n".join(lines) + "\n").encode()
    with zipfile.ZipFile(wheel, "w", compresslevel=6) as new:
        for each in infos:
            new.writestr(each, files[each.filename], each.compress_type)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        rewrite(Path(each))
