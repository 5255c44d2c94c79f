"""`pip` and `uv` on a page: nothing is installed, but what is asked for has to exist."""

import importlib.metadata
import sys

from packaging.requirements import Requirement

OURS = "deepgram-sagemaker"

ELSEWHERE = {"uvicorn", "fastapi", "uvloop", "opentelemetry-sdk"}
"""Packages that pages name and that the tests' environment need not have."""


def check(text):
    if text == ".":
        return
    requirement = Requirement(text)
    if requirement.name == OURS:
        known = importlib.metadata.metadata(OURS).get_all("Provides-Extra")
        unknown = requirement.extras - set(known)
        if unknown:
            sys.exit(f"{OURS} has no extra {', '.join(sorted(unknown))}; it has {known}")
        version = importlib.metadata.version(OURS)
        if not requirement.specifier.contains(version):
            sys.exit(f"{text}: this is version {version}")
    elif requirement.name not in ELSEWHERE:
        importlib.metadata.metadata(requirement.name)


words = [word for word in sys.argv[1:] if not word.startswith("-")]
if not words or words[0] not in ("install", "add", "pip") or len(words) < 2:
    sys.exit(f"pages only install: {sys.argv[1:]}")
for word in words[1:] if words[0] != "pip" else words[2:]:
    check(word)
