"""The programs of docs/batches.md, as they stand there, on a Ray that is up."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from batches import archive, recording, text
from deepgram_sagemaker.local import LocalEndpoint

PAGE = Path(__file__).parents[2] / "docs" / "batches.md"


def program(name):
    """A program of the page."""
    found = re.search(rf'```python title="{name}"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    return found[1]


def run(name, endpoint, cluster, folder):
    (folder / name).write_text(program(name))
    reach = {
        "RAY_ADDRESS": cluster,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
        "AWS_CA_BUNDLE": endpoint.ca_bundle,
    }
    return subprocess.run(
        [sys.executable, name],
        cwd=folder,
        env=os.environ | reach,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
