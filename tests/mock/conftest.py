from collections.abc import Iterator

import pytest

from extproc.mock import MockProvider


@pytest.fixture(scope="module")
def running() -> Iterator[MockProvider]:
    with MockProvider.running() as mock:
        yield mock


@pytest.fixture
def mock(running: MockProvider) -> MockProvider:
    running.clear()
    return running
