"""Gateways that tests share, and a factory for those who need their own.

`gateway` has keys, `keyless` has none, `tight` has small limits, `everyone` has
providers of every kind and no keys; each lives as long as the session of its test
process. `make_gateway` gives one that ends with its test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e.everyone import blocks
from tests.e2e.harness import ALICE_KEY, KEYS, TRANSPORT, Gateway, running

TIGHT = {
    "body": 65536,
    "in_flight_bytes": 65536,
    "header_bytes": 8192,
    "header_count": 40,
    "idle_timeout": "1s",
    "stage_timeout": "1s",
    "request_timeout": "2s",
}

# The demo has a configuration of its own, so there is one run of it and not one for each transport.
collect_ignore = [] if TRANSPORT == "native" else ["test_demo.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def shared_mock() -> Iterator[MockProvider]:
    with MockProvider.running() as mock:
        yield mock


@pytest.fixture
def mock(shared_mock: MockProvider) -> MockProvider:
    """The provider behind every gateway, with nothing recorded yet."""
    shared_mock.clear()
    return shared_mock


@pytest.fixture(scope="session")
def shared_gateway(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("keyed")
    with running(folder, shared_mock, key=ALICE_KEY, keys=KEYS) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shared_keyless(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("keyless"), shared_mock, workers=1) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shared_tight(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tight")
    with running(folder, shared_mock, workers=1, limits=TIGHT) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shared_everyone(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with running(
        tmp_path_factory.mktemp("everyone"), shared_mock, **blocks(shared_mock)
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway, mock: MockProvider) -> Gateway:
    """With keys: its clients are `alice`."""
    return shared_gateway


@pytest.fixture
def keyless(shared_keyless: Gateway, mock: MockProvider) -> Gateway:
    return shared_keyless


@pytest.fixture
def tight(shared_tight: Gateway, mock: MockProvider) -> Gateway:
    """Without keys, with the limits of `TIGHT`."""
    return shared_tight


@pytest.fixture
def everyone(shared_everyone: Gateway, mock: MockProvider) -> Gateway:
    """Without keys, with the providers of `everyone.blocks`."""
    return shared_everyone


@pytest.fixture
def make_gateway(mock: MockProvider, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """`make_gateway(limits=..., keys=...)`: a gateway of the test's own, ready."""
    made: list[Gateway] = []

    def make(**options: Any) -> Gateway:
        folder = tmp_path / f"g{len(made)}"
        folder.mkdir()
        gateway = Gateway(folder, mock, **options)
        made.append(gateway)
        gateway.wait_until_ready()
        return gateway

    try:
        yield make
    finally:
        for gateway in made:
            gateway.destroy()
