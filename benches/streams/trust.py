"""The authorities that the measured clients trust: the system's and the endpoint's, in one file.

A client in production has the system's whole store to load. With the endpoint's certificate alone
that cost would not show.
"""

import ssl
from pathlib import Path

__all__ = ["store"]


def store(authority: str, directory: str) -> Path:
    """Writes the bundle into a directory.

    Args:
        authority: The PEM file of the endpoint's authority.
        directory: Where to write.
    """
    system = ssl.get_default_verify_paths().openssl_cafile
    bundle = Path(directory, "trusted.pem")
    parts = [Path(system).read_text()] if Path(system).exists() else []
    bundle.write_text("\n".join([*parts, Path(authority).read_text()]))
    return bundle
