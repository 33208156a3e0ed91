"""What the matrix must look like: a cell for each client, provider and scenario.

Whatever is not named here works. A loss is named, with the fields that the reply's
`x-sluice-dropped` gives; a refusal is a 400 that names the field. Each is one
consequence of the two languages, whose reason stands beside it; there is no entry
for a defect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from extproc.model.fields import Field
from tests.e2e.matrix.cell import DECLINED, WORKS, Cell
from tests.e2e.matrix.providers import Provider
from tests.e2e.matrix.words import in_words


def _lossy(*fields: Field) -> tuple[str, tuple[Field, ...]]:
    return ("lossy", fields) if fields else ("works", ())


def _refused(field: Field) -> tuple[str, tuple[Field, ...]]:
    return "refused", (field,)


Found = tuple[str, tuple[Field, ...]]
_NOTHING = _lossy()

# Its language is one prompt and its continuation: roles become words in the prompt.
_PROMPT_ONLY: Mapping[str, Found] = {
    "turns": _lossy(Field.SYSTEM, Field.ROLES),
    "system within": _lossy(Field.SYSTEM, Field.ROLES),
    "cited": _lossy(Field.CITATIONS, Field.ROLES),
    "parallel": _refused(Field.TOOLS),
    "forced": _refused(Field.TOOLS),
    "failed": _refused(Field.TOOLS),
    "pictured": _refused(Field.TOOLS),
    "thinking": _refused(Field.TOOLS),
    "structured": _refused(Field.OUTPUT),
    "image": _refused(Field.IMAGE),
    "document": _refused(Field.DOCUMENT),
    "audio": _refused(Field.AUDIO),
    "logprobs": _refused(Field.LOGPROBS),
}

_ECHO_SIGNED = frozenset(
    {"openai_responses", "anthropic_messages", "gemini_generate", "bedrock_converse"}
)
"""clients that send back what was thought together with its provider's signature"""
_SIGNED = frozenset({"openai_responses", "anthropic_messages", "bedrock_converse"})
"""providers that sign what they think"""
_BY_BUDGET = frozenset({"anthropic_messages", "gemini_generate", "bedrock_converse", "cohere_chat"})
"""clients that say in tokens how much to think"""
_BY_EFFORT = frozenset({"openai_chat", "openai_responses", "ollama_chat"})
"""providers that know efforts only"""
_ASK_TO_SEE = frozenset({"openai_responses", "gemini_generate"})
"""clients that ask apart whether thoughts are shown"""
_SHOW_ALWAYS = frozenset({"openai_chat", "ollama_chat", "cohere_chat", "bedrock_converse"})
"""providers that cannot be asked that"""
_CLAUDE = frozenset({"anthropic_messages", "bedrock_converse"})
_TEXT_RESULTS = frozenset({"openai_chat", "ollama_chat", "cohere_chat"})
"""providers whose tools give text only"""
_HEARS = frozenset({"openai_chat", "gemini_generate", "bedrock_converse"})
_READS = _HEARS | {"openai_responses", "anthropic_messages"}
"""providers that take a PDF"""
_SYSTEM_ANYWHERE = frozenset({"openai_chat", "openai_responses", "ollama_chat"})
_ONE_ANSWER = _CLAUDE | {"openai_responses", "ollama_chat", "cohere_chat"}
_NO_LOGPROBS = _CLAUDE | {"cohere_chat"}


def expected(scenario: str, client: str, provider: Provider) -> Cell:
    """The cell, by the names of scenario and client."""
    if _declined(scenario, client, provider):
        return DECLINED
    found = _OF_PROVIDERS.get((scenario, provider.name))
    if found is None or client == provider.dialect:
        found = _by_language(scenario, client, provider)
    verdict, fields = found
    words = dict.fromkeys(in_words(client, field) for field in fields)
    return Cell(verdict, tuple(words)) if fields else WORKS


def _by_language(scenario: str, client: str, provider: Provider) -> Found:
    language = provider.dialect
    if language == client:
        return _NOTHING
    if language == "openai_completions":
        return _PROMPT_ONLY.get(scenario, _NOTHING)
    rule = _RULES.get(scenario)
    return _NOTHING if rule is None else rule(client, provider)


def _thinking(client: str, provider: Provider) -> Found:
    language, lost = provider.dialect, list[Field]()
    if client in _ASK_TO_SEE and language in _SHOW_ALWAYS:
        lost.append(Field.SUMMARY)
    if client in _BY_BUDGET and language in _BY_EFFORT:
        lost.append(Field.BUDGET)
    if provider.effortless:
        lost.append(Field.BUDGET if client in _BY_BUDGET else Field.EFFORT)
    signed = client in _ECHO_SIGNED and language in _SIGNED
    quiet = (client, language) == ("openai_chat", "openai_responses") or provider.hides
    if not (quiet or signed):
        # Unsigned thoughts of another language are not sent back as a model's own.
        lost.append(Field.THINKING)
        if language in _CLAUDE:
            # Claude thinks on only from signed thoughts: it must not be asked to.
            lost.append(Field.BUDGET if client in _BY_BUDGET else Field.EFFORT)
    return _lossy(*lost)


def _plan(client: str, provider: Provider) -> tuple[Field, ...]:
    # The plan that Cohere tells with its calls is its thinking, and nothing signs it.
    del client
    return (Field.THINKING,) if provider.dialect == "cohere_chat" else ()


def _parallel(client: str, provider: Provider) -> Found:
    return _lossy(*_plan(client, provider))


def _forced(client: str, provider: Provider) -> Found:
    # It has no tool choice, and to call another tool or none would be another answer.
    return _refused(Field.TOOL_CHOICE) if provider.dialect == "ollama_chat" else _NOTHING


def _failed(client: str, provider: Provider) -> Found:
    if provider.dialect not in _TEXT_RESULTS | {"openai_responses"}:
        return _NOTHING
    # The text says that it is an error.
    return _lossy(*_plan(client, provider), Field.IS_ERROR)


def _pictured(client: str, provider: Provider) -> Found:
    if provider.dialect not in _TEXT_RESULTS:
        return _NOTHING
    # The picture follows in a message of the user's.
    return _lossy(*_plan(client, provider), Field.RESULT_MEDIA)


def _system_within(client: str, provider: Provider) -> Found:
    # It goes into the user's message, between marks.
    return _NOTHING if provider.dialect in _SYSTEM_ANYWHERE else _lossy(Field.SYSTEM)


_RULES = {
    "thinking": _thinking,
    "parallel": _parallel,
    "forced": _forced,
    "failed": _failed,
    "pictured": _pictured,
    "system within": _system_within,
    "cited": lambda client, provider: _lossy(Field.CITATIONS),
    "document": lambda client, provider: (
        _NOTHING if provider.dialect in _READS else _refused(Field.DOCUMENT)
    ),
    "audio": lambda client, provider: (
        _NOTHING if provider.dialect in _HEARS else _refused(Field.AUDIO)
    ),
    "stop": lambda client, provider: (
        _refused(Field.STOP) if provider.dialect == "openai_responses" else _NOTHING
    ),
    "answers": lambda client, provider: (
        _refused(Field.N) if provider.dialect in _ONE_ANSWER else _NOTHING
    ),
    "logprobs": lambda client, provider: (
        _refused(Field.LOGPROBS) if provider.dialect in _NO_LOGPROBS else _NOTHING
    ),
}

_OF_PROVIDERS: Mapping[tuple[str, str], Found] = {
    # Its models see nothing, and know of schemas by words only.
    ("image", "deepseek"): _refused(Field.IMAGE),
    ("pictured", "deepseek"): _refused(Field.IMAGE),
    ("document", "mistral"): _refused(Field.DOCUMENT),
    ("document", "xai"): _refused(Field.DOCUMENT),
    ("document", "deepseek"): _refused(Field.DOCUMENT),
    ("audio", "xai"): _refused(Field.AUDIO),
    ("audio", "deepseek"): _refused(Field.AUDIO),
    ("structured", "deepseek"): _lossy(Field.OUTPUT),
    ("answers", "deepseek"): _refused(Field.N),
    ("logprobs", "mistral"): _refused(Field.LOGPROBS),
    # Schemas by the arguments of a tool.
    ("structured", "older-claude"): _lossy(Field.OUTPUT),
}
_AT_HOME = frozenset(
    {
        *((what, "deepseek") for what in ("image", "document", "audio", "structured", "answers")),
        *((what, "mistral") for what in ("thinking", "logprobs", "document")),
        *((what, "xai") for what in ("document", "audio")),
    }
)
"""what goes to its own provider as it came, and is refused there"""


def _declined(scenario: str, client: str, provider: Provider) -> bool:
    if (scenario, provider.name) == ("document", "vllm"):
        # What a server of this kind takes is up to its model.
        return True
    home = client == provider.dialect
    if (scenario, client) == ("system within", "cohere_chat"):
        return home
    return home and (scenario, provider.name.removeprefix("picky-")) in _AT_HOME


MIDDLE = {
    "openai_completions": ("turns", "several turns, for a language without roles"),
    "deepseek": ("structured", "a JSON schema, for a model that knows of schemas by words only"),
    "older-claude": ("structured", "a JSON schema, for a model that has tools only"),
}
"""losses that are neither harmless nor fatal: where, in which scenario, and what it is"""


def rejected(scenario: str, client: str, provider: Provider) -> Cell:
    """The cell where the operator lets nothing be lost that matters."""
    cell = expected(scenario, client, replace(provider, name=provider.name.removeprefix("picky-")))
    if cell.verdict != "lossy":
        return cell
    field = {"turns": Field.ROLES, "structured": Field.OUTPUT}[scenario]
    return Cell("refused", (in_words(client, field),))
