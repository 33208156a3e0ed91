"""A service account of Google's for the matrix: its key file, whose tokens the mock gives."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extproc.mock import MockProvider
from tests.e2e.matrix.run import TOKENS


def google_account(folder: Path, mock: MockProvider) -> Path:
    """The path of its key file."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fields = {
        "type": "service_account",
        "client_email": "matrix@reading-room.example",
        "private_key": pem.decode(),
        "token_uri": mock.url + TOKENS,
    }
    path = folder / "account.json"
    path.write_text(json.dumps(fields))
    return path
