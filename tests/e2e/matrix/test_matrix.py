"""Every client language meets every provider language, with real SDKs through a real Envoy.

One gateway behind TLS, because boto3 sends a bearer token only there; one instance of
each SDK; each cell is played once and compared with `expected.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from extproc import discover
from tests.e2e.matrix.cell import Cell
from tests.e2e.matrix.clients import (
    CLIENTS,
    AnthropicClient,
    ChatClient,
    GeminiClient,
    ResponsesClient,
)
from tests.e2e.matrix.expected import MIDDLE, expected, rejected
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import LANGUAGES, PICKY, PROVIDERS, VARIANTS
from tests.e2e.matrix.run import Scenario
from tests.e2e.matrix.scenarios import SCENARIOS
from tests.e2e.matrix.settings import SETTINGS, Setting
from tests.e2e.matrix.table import page
from tests.e2e.matrix.talk import Client

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"
FOUND = discover.registry().dialects
# Cohere's SDK uses what its own base has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")

NAMES = tuple(provider.name for provider in LANGUAGES)
VARIANT_NAMES = tuple(provider.name for provider in VARIANTS)
VARIANT_CLIENTS = (ChatClient, ResponsesClient, AnthropicClient, GeminiClient)
"""among them for every variant one that speaks its language itself"""
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


Play = tuple[Scenario, type[Client], str]


def plays(clients: Sequence[type[Client]], providers: Sequence[str]) -> list[Play]:
    """What these clients have a word for, with these providers."""
    return [
        (scenario, client, provider)
        for scenario in SCENARIOS
        for client in clients
        if scenario.needs <= client.can
        for provider in providers
    ]


def lossy(play: Play) -> bool:
    scenario, client, provider = play
    return expected(scenario.name, client.dialect, PROVIDERS[provider]).verdict == "lossy"


def of_plays(plays: Iterable[Play]) -> pytest.MarkDecorator:
    params = [
        pytest.param(*play, id=f"{play[0].name}-{play[1].dialect}-{play[2]}") for play in plays
    ]
    return pytest.mark.parametrize(("scenario", "client", "provider"), params)


EVERY = plays(CLIENTS, NAMES)
VARIED = plays(VARIANT_CLIENTS, VARIANT_NAMES)


def _ids(client: type[Client]) -> str:
    return client.dialect


of_some_clients = pytest.mark.parametrize("client", VARIANT_CLIENTS, ids=_ids)
of_providers = pytest.mark.parametrize("provider", NAMES)
of_streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def test_every_dialect_has_its_row_and_column() -> None:
    assert {client.dialect for client in CLIENTS} == FOUND.keys()
    assert set(NAMES) == {name for name, one in FOUND.items() if one.speaks_to_providers}
    spoken = {client.dialect for client in VARIANT_CLIENTS}
    assert {variant.dialect for variant in VARIANTS} <= spoken


@of_streams
@of_plays([*EVERY, *VARIED])
def test_cell(
    matrix: Matrix, scenario: Scenario, client: type[Client], provider: str, stream: bool
) -> None:
    found = matrix.cell(scenario, client, provider, stream=stream)
    assert found == expected(scenario.name, client.dialect, PROVIDERS[provider]), found.said


@of_plays(filter(lossy, [*EVERY, *VARIED]))
def test_who_is_strict_loses_nothing(
    matrix: Matrix, scenario: Scenario, client: type[Client], provider: str
) -> None:
    """What would be dropped is refused, by the same names."""
    found = matrix.strictly(scenario, client, provider)
    assert found.verdict == "refused"
    known = expected(scenario.name, client.dialect, PROVIDERS[provider])
    assert set(found.names) <= set(known.names)


@of_some_clients
@pytest.mark.parametrize("provider", PICKY)
def test_an_operator_decides_the_middle(
    matrix: Matrix, client: type[Client], provider: str
) -> None:
    """`on_lossy: reject`"""
    scenario = BY_NAME[MIDDLE[provider][0]]
    for name, cell in ((provider, expected), (PICKY[provider].name, rejected)):
        found = matrix.cell(scenario, client, name, stream=False)
        assert found == cell(scenario.name, client.dialect, PROVIDERS[name]), found.said


@of_providers
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_setting(matrix: Matrix, setting: Setting, provider: str) -> None:
    assert matrix.setting(setting, provider) == setting.expected(provider)


def test_page(matrix: Matrix) -> None:
    def cell(scenario: Scenario, client: type[Client], provider: str) -> Cell:
        whole, streamed = (
            matrix.cell(scenario, client, provider, stream=stream) for stream in (False, True)
        )
        assert whole == streamed, (scenario.name, client.dialect, provider)
        return whole

    text = page(matrix, cell, VARIANT_CLIENTS)
    if os.environ.get("SLUICE_GOLDEN"):
        PAGE.write_text(text)
    written = PAGE.read_text()
    changed = [
        f"{mark} {line}"
        for mark, mine, other in (("-", written, text), ("+", text, written))
        for line in mine.splitlines()
        if line not in other.splitlines()
    ]
    assert text == written, "docs/compatibility.md is old; see the diff of `make golden`:\n" + (
        "\n".join(changed)
    )
