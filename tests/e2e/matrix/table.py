"""Writes `docs/compatibility.md`: what the matrix found, as tables that a person reads.

Takes cells, gives text; whole and streamed share a cell, because they must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from extproc.model.fields import Field
from tests.e2e.matrix.beside import COUNTS, COUNTS_ITSELF, EMBEDDERS, EMBEDS
from tests.e2e.matrix.cell import DECLINED, NO_WORD, WORKS, Cell
from tests.e2e.matrix.expected import MIDDLE
from tests.e2e.matrix.failures import ALL, EXPECTED
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import LANGUAGES, PICKY, PROVIDERS, VARIANTS
from tests.e2e.matrix.run import Scenario
from tests.e2e.matrix.scenarios import SCENARIOS
from tests.e2e.matrix.settings import SETTINGS
from tests.e2e.matrix.talk import Client
from tests.e2e.matrix.words import in_words

HEAD = """# Compatibility

Which client works with which provider: every pair of languages, through a real Envoy, with the
clients' own SDKs. The providers are played by the mock. This page is written by the tests
(`make golden`), and they fail when a cell changes.

Rows are clients, columns are the languages of providers. Every cell holds for whole and for
streamed replies.

| in a cell | it means |
|---|---|
| yes | all of it arrives, on both sides |
| (1) | it works, but a part gets lost: the note below the table names it in the client's words, and so does `x-sluice-dropped` on the reply |
| no (1) | it is refused with status 400, before the provider is asked; the note names the field in the client's words |
| theirs | the provider itself refuses it, and the client reads its words: mostly where a request goes as it is, to a provider of the client's own language |
| - | the client's language has no word for it |

With `x-sluice-strict: 1` on a request, what would be dropped is refused too: every cell with a
number below has been tried so.
"""

REASONS: Mapping[Field, str] = {
    Field.ROLES: "a language without roles gets the turns as text, with names before them",
    Field.SYSTEM: "system text in the midst of a conversation goes into the next message of the "
    "user's, between marks; in a language without roles it is a part of the prompt",
    Field.TOOLS: "the provider's language has no tools",
    Field.TOOL_CHOICE: "the provider's language cannot force a tool, and another answer would come",
    Field.OUTPUT: "the provider's language has no schemas for answers; or, where it is only "
    "dropped, the model is told of the schema in words or by a tool",
    Field.IMAGE: "the provider's language, or its model, takes text only",
    Field.DOCUMENT: "the provider's language takes no documents as bytes",
    Field.AUDIO: "the provider's language takes no sound",
    Field.THINKING: "in later turns: what a model thought goes back to it with its signature only, "
    "and either the provider does not sign or the client's language cannot keep it",
    Field.EFFORT: "for such a turn Claude is not asked to think: without what it thought before, "
    "it would refuse; or the model cannot be told how much to think",
    Field.BUDGET: "a number of tokens becomes the effort that comes closest; or as above",
    Field.SUMMARY: "the provider cannot be asked whether to show what it thinks",
    Field.CITATIONS: "sources of an earlier answer are known to their own language only; its text "
    "arrives",
    Field.IS_ERROR: "the result's text says instead that it is an error",
    Field.RESULT_MEDIA: "the picture follows in a message of the user's",
    Field.STOP: "the provider's language cannot be told where to stop",
    Field.N: "the provider's language gives one answer to a request",
    Field.LOGPROBS: "the provider's language does not tell how likely its tokens are",
}
"""Why a field of a conversation is dropped or refused."""

CellOf = Callable[[Scenario, type[Client], str], Cell]
Clients = Sequence[type[Client]]


def page(matrix: Matrix, cell: CellOf, variant_clients: Clients) -> str:
    """The whole page. `variant_clients` are those that ask the variants."""
    names = [provider.name for provider in LANGUAGES]
    titles = [provider.title for provider in LANGUAGES]
    parts = [HEAD]
    for scenario in SCENARIOS:
        rows = {
            client.name: [cell(scenario, client, name) for name in names]
            for client in matrix.clients
        }
        parts.append(f"\n## {scenario.title}\n\n{_matrix(titles, rows)}")
    rows = {one.name: [matrix.setting(one, name) for name in names] for one in SETTINGS}
    parts.append(f"\n## Settings\n\nAsked by the chat client.\n\n{_matrix(titles, rows)}")
    parts.append(_variants(cell, variant_clients))
    parts.append(_operators(matrix, variant_clients))
    parts.append(_beside())
    parts.append("\n## Why\n\n" + "\n".join(_reasons()) + "\n")
    parts.append(f"\n## Errors\n\n{_errors(matrix.clients)}")
    return "".join(parts)


def _variants(cell: CellOf, clients: Clients) -> str:
    """One table a client: there are more things to ask than clients that ask them."""
    text = (
        "\n## Providers that speak such a language with differences\n\n"
        "Paths, credentials and fields that differ are checked where requests arrive, signatures "
        "too.\n"
    )
    titles = [provider.title for provider in VARIANTS]
    for client in clients:
        rows = {
            scenario.title: [cell(scenario, client, provider.name) for provider in VARIANTS]
            for scenario in SCENARIOS
        }
        text += f"\n### Asked by {client.name}\n\n{_matrix(titles, rows)}"
    return text


def _operators(matrix: Matrix, clients: Clients) -> str:
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    rows: dict[str, list[Cell]] = {}
    for name, (scenario, about) in MIDDLE.items():
        for word, provider in (("drop", name), ("reject", PICKY[name].name)):
            rows[f"{about}, `{word}`"] = [
                matrix.cell(scenarios[scenario], client, provider, stream=False)
                for client in clients
            ]
    text = (
        "\n## What the operator decides\n\nSome losses are neither harmless nor fatal: a provider's "
        "`on_lossy` says whether they are named (`drop`) or refused (`reject`).\n\n"
    )
    return text + _matrix([client.name for client in clients], rows)


def _beside() -> str:
    providers = [*LANGUAGES, *VARIANTS]
    counted = [
        [client, *("provider" if p.name in COUNTS_ITSELF else "estimate" for p in providers)]
        for client in COUNTS
    ]
    embedding = [PROVIDERS[name] for name in EMBEDDERS]
    vectors = [[client, *("yes" for _ in embedding)] for client in EMBEDS]
    return "\n".join(
        [
            "\n## Counting tokens\n",
            "`x-sluice-count` says who counted: the provider, or the gateway by an estimate.\n",
            *_lines(["", *(one.title for one in providers)], counted),
            "\n## Vectors\n",
            "Titan takes one text at a time; a list for it is refused.\n",
            *_lines(["", *(one.title for one in embedding)], vectors),
            "",
        ]
    )


def _reasons() -> Iterable[str]:
    """Each reason, with all the words that clients have for its field."""
    clients = sorted(EXPECTED)
    for field, why in REASONS.items():
        words = dict.fromkeys([field.value, *(in_words(client, field) for client in clients)])
        yield f"- {', '.join(f'`{word}`' for word in words)}: {why}."


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


_PLAIN = {WORKS: "yes", NO_WORD: "-", DECLINED: "theirs"}


def _shown(cell: Cell, notes: dict[Cell, int]) -> str:
    if cell in _PLAIN:
        return _PLAIN[cell]
    number = notes.setdefault(cell, len(notes) + 1)
    return f"no ({number})" if cell.verdict == "refused" else f"({number})"


def _note(cell: Cell) -> str:
    names = ", ".join(f"`{name}`" for name in cell.names)
    return f"refused: {names}" if cell.verdict == "refused" else f"dropped: {names}"


def _errors(clients: Sequence[type[Client]]) -> str:
    """The same for all providers, and therefore one table."""
    body = [
        [failure, what.origin, *(_seen(*EXPECTED[client.dialect][failure]) for client in clients)]
        for failure, what in ALL.items()
    ]
    lines = _lines(["what fails", "origin", *(client.name for client in clients)], body)
    text = (
        "What a client's code must catch when something fails, with the status that it sees. It is "
        "the same whoever the provider is; where that one speaks the client's language, its own "
        "reply passes. `x-sluice-error-origin` says whose failure it is. `retry-after` of a rate "
        "limit arrives too; a spent budget that OpenAI's clients see has `x-should-retry: false`."
        "\n\n"
    )
    return text + "\n".join(lines) + "\n"


def _seen(kind: str, status: int) -> str:
    return f"{kind} {status}" if kind != "HTTP" else str(status)


def _lines(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]
