"""Compares the tags in the names of Linux wheels with what auditwheel finds in them: WHEEL...

`auditwheel show` only prints the oldest system that a wheel runs on. Here a wheel whose name
promises an older one, another C library or another architecture is a failure. Needs auditwheel.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

TAG = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)_(\w+)")
# PEP 600 has what the older names mean.
OLDER = {"manylinux1": "2_5", "manylinux2010": "2_12", "manylinux2014": "2_17"}


def parsed(tag: str) -> tuple[str, str, tuple[int, int]] | None:
    """Return C library, architecture and version; None for a tag that promises no user land."""
    first, _, rest = tag.partition("_")
    if version := OLDER.get(first):
        tag = f"manylinux_{version}_{rest}"
    if found := TAG.fullmatch(tag):
        library, major, minor, architecture = found.groups()
        return library, architecture, (int(major), int(minor))
    return None


def complaints(name: str, found: str) -> list[str]:
    """Return what is wrong with the tags in a wheel's name, if auditwheel found this one."""
    wrong = []
    allowed = parsed(found)
    for tag in name.removesuffix(".whl").rpartition("-")[2].split("."):
        promised = parsed(tag)
        if promised is None:
            wrong.append(f"{tag} promises no user land")
        elif allowed is None or promised[:2] != allowed[:2] or promised[2] < allowed[2]:
            wrong.append(f"the name promises {tag}, and auditwheel finds {found}")
    return wrong


def shown(wheel: Path) -> dict:
    """Return what auditwheel finds; libraries of this machine are nothing that it may count on."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", "--ldpaths", "/nowhere", wheel]
    # It fails where the module is for another C library or architecture, and says so in its output.
    return json.loads(subprocess.run(command, check=False, stdout=subprocess.PIPE).stdout)


def newest(versions: list[str]) -> str:
    return max(versions, key=lambda each: [int(part) for part in re.findall(r"\d+", each)])


def main(wheels: list[str]) -> int:
    failed = False
    for name in wheels:
        wheel = Path(name)
        report = shown(wheel)
        if refusal := report.get("error"):
            found, wrong = "nothing that its name says", [" ".join(refusal.split())]
        else:
            found = report["overall_tag"]
            wrong = complaints(wheel.name, found)
        failed |= bool(wrong)
        print(f"{wheel.name}: {found}")
        for library, versions in sorted(report.get("versioned_symbols", {}).items()):
            print(f"  needs {library} {newest(versions)}")
        for each in wrong:
            print(f"  wrong: {each}")
    return 1 if failed or not wheels else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
