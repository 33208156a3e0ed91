"""The gateway of the matrix, with one instance of every SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.mock import MockProvider
from tests.e2e.harness import ALICE_KEY, KEYS, Gateway
from tests.e2e.matrix.accounts import google_account
from tests.e2e.matrix.clients import CLIENTS
from tests.e2e.matrix.failures import TOO_LARGE
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import blocks
from tests.e2e.matrix.signed import VARIABLES

CERTS = Path(__file__).parents[2] / "envoygen" / "certs"


@pytest.fixture(scope="package")
def matrix(shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix")
    tls = {"cert": str(CERTS / "server.crt"), "key": str(CERTS / "server.key")}
    gateway = Gateway(
        folder,
        shared_mock,
        key=ALICE_KEY,
        keys=KEYS,
        ca=CERTS / "ca.crt",
        env=VARIABLES,
        server={"host": "127.0.0.1", "port": 0, "tls": tls},
        limits={"body": TOO_LARGE},
        **blocks(shared_mock, google_account(folder, shared_mock)),
    )
    made = Matrix(gateway, CLIENTS)
    try:
        gateway.wait_until_ready()
        yield made
        failed = [line for line in gateway.log_lines() if line["level"] == "error"]
        assert not failed, f"errors in its log: {failed[:3]}"
    finally:
        made.close()
        gateway.destroy()
