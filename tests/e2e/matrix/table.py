"""Writes `docs/compatibility.md`: what the matrix found, as tables that a person reads.

Takes cells, gives text; whole and streamed share a cell, because they must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.e2e.matrix.cell import NO_WORD, WORKS, Cell
from tests.e2e.matrix.failures import EXPECTED, FAILURES
from tests.e2e.matrix.scenarios import Scenario
from tests.e2e.matrix.settings import SETTINGS, Setting
from tests.e2e.matrix.talk import Client

HEAD = """# Compatibility

Which client works with which provider: every pair of languages, through a real Envoy, with the
clients' own SDKs. The providers are played by the mock. This page is written by the tests
(`make golden`), and they fail when a cell changes.

Rows are clients, columns are the languages of providers. Every cell holds for whole and for
streamed replies.

| in a cell | it means |
|---|---|
| yes | all of it arrives, on both sides |
| (1) | it works, but a part gets lost: the note below the table names it, and so does `x-sluice-dropped` on the reply |
| no (1) | it is refused with status 400, before the provider is asked; the note names the field |
| - | the client's language has no word for it |

With `x-sluice-strict: 1` on a request, what would be dropped is refused too.
"""

REASONS: Mapping[str, str] = {
    "role": "a language without roles gets the turns as text, with names before them",
    "role:system": "the same, for the system prompt",
    "tools": "the provider's language has no tools",
    "tool_choice": "the provider's language cannot force a tool, and another answer would come",
    "response_format": "the provider's language has no schemas for answers",
    "messages": "the provider's language has text only",
    "thinking": "in later turns: what a model thought goes back to it with its signature only, "
    "and either the provider does not sign or the client's language cannot keep it",
    "reasoning": "for such a turn Claude is not asked to think: without what it thought before, "
    "it would refuse",
    "reasoning.budget": "a number of tokens becomes the effort that comes closest",
    "reasoning.summary": "the provider cannot be asked whether to show what it thinks",
}
"""Why a field of a conversation is dropped or refused."""

COLUMNS: Mapping[str, str] = {
    "openai_chat": "OpenAI Chat",
    "openai_responses": "OpenAI Responses",
    "anthropic_messages": "Anthropic",
    "gemini_generate": "Gemini",
    "bedrock_converse": "Bedrock",
    "ollama_chat": "Ollama",
    "cohere_chat": "Cohere",
    "openai_completions": "OpenAI Completions",
}

CellOf = Callable[[Scenario, type[Client], str], Cell]


def page(
    scenarios: Sequence[Scenario],
    clients: Sequence[type[Client]],
    providers: Sequence[str],
    cell: CellOf,
    setting: Callable[[Setting, str], Cell],
) -> str:
    """The whole page."""
    parts = [HEAD]
    titles = [COLUMNS.get(provider, provider) for provider in providers]
    for scenario in scenarios:
        rows = {
            client.name: [cell(scenario, client, provider) for provider in providers]
            for client in clients
        }
        parts.append(f"\n## {scenario.title}\n\n{_matrix(titles, rows)}")
    rows = {one.name: [setting(one, provider) for provider in providers] for one in SETTINGS}
    parts.append(f"\n## Settings\n\nAsked by the chat client.\n\n{_matrix(titles, rows)}")
    lines = [f"- `{name}`: {why}." for name, why in REASONS.items()]
    parts.append("\n## Why\n\n" + "\n".join(lines) + "\n")
    parts.append(f"\n## Errors\n\n{_errors(clients)}")
    return "".join(parts)


def _matrix(titles: Sequence[str], rows: Mapping[str, Sequence[Cell]]) -> str:
    notes: dict[Cell, int] = {}
    body: list[list[str]] = []
    for name, cells in rows.items():
        if all(cell == NO_WORD for cell in cells):
            continue
        body.append([name, *(_shown(cell, notes) for cell in cells)])
    lines = _lines(["", *titles], body)
    if notes:
        lines.append("")
        lines += [f"{number}. {_note(cell)}" for cell, number in notes.items()]
    return "\n".join(lines) + "\n"


def _shown(cell: Cell, notes: dict[Cell, int]) -> str:
    if cell == WORKS:
        return "yes"
    if cell == NO_WORD:
        return "-"
    number = notes.setdefault(cell, len(notes) + 1)
    return f"no ({number})" if cell.verdict == "refused" else f"({number})"


def _note(cell: Cell) -> str:
    names = ", ".join(f"`{name}`" for name in cell.names)
    return f"refused: {names}" if cell.verdict == "refused" else f"dropped: {names}"


def _errors(clients: Iterable[type[Client]]) -> str:
    """The same for all providers, and therefore one table."""
    body = [
        [client.name, *(_seen(*EXPECTED[client.dialect][failure]) for failure in FAILURES)]
        for client in clients
    ]
    lines = _lines(["the provider's", *FAILURES], body)
    text = (
        "What a client's code must catch when its provider fails, with the status that it sees. "
        "It is the same whoever the provider is. `retry-after` of a rate limit arrives too.\n\n"
    )
    return text + "\n".join(lines) + "\n"


def _seen(kind: str, statuses: frozenset[int]) -> str:
    numbers = " or ".join(map(str, sorted(statuses)))
    return f"{kind} {numbers}" if kind != "HTTP" else numbers


def _lines(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]
