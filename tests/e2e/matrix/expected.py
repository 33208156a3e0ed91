"""What the matrix must look like: a cell for each client, provider and scenario.

Whatever is not named here works. A loss is named, with the fields that the reply's
`x-sluice-dropped` gives; a refusal is a 400 that names the field. Each is one
consequence of the two languages, whose reason stands beside it; there is no entry
for a defect.
"""

from __future__ import annotations

from tests.e2e.matrix.cell import WORKS, Cell

# Its language is one prompt and its continuation: roles become words in the prompt.
_PROMPT_ONLY = {
    "turns": Cell("lossy", ("role:system", "role")),
    "parallel": Cell("refused", ("tools",)),
    "forced": Cell("refused", ("tools",)),
    "thinking": Cell("refused", ("tools",)),
    "structured": Cell("refused", ("response_format",)),
    "image": Cell("refused", ("messages",)),
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


def expected(scenario: str, client: str, provider: str) -> Cell:
    """The cell, by the names of scenario and dialects."""
    if provider == "openai_completions":
        return _PROMPT_ONLY.get(scenario, WORKS)
    if scenario == "forced" and provider == "ollama_chat":
        # It has no tool choice, and to call another tool or none would be another answer.
        return Cell("refused", ("tool_choice",))
    if scenario == "parallel" and provider == "cohere_chat" != client:
        # The plan that Cohere tells with its calls is its thinking, and nothing signs it.
        return Cell("lossy", ("thinking",))
    if scenario == "thinking" and provider != client:
        return _thinking(client, provider)
    return WORKS


def _thinking(client: str, provider: str) -> Cell:
    lost: list[str] = []
    if client in _ASK_TO_SEE and provider in _SHOW_ALWAYS:
        lost.append("reasoning.summary")
    if client in _BY_BUDGET and provider in _BY_EFFORT:
        lost.append("reasoning.budget")
    signed = client in _ECHO_SIGNED and provider in _SIGNED
    shown = (client, provider) != ("openai_chat", "openai_responses")
    if shown and not signed:
        # Unsigned thoughts of another language are not sent back as a model's own.
        lost.append("thinking")
        if provider in ("anthropic_messages", "bedrock_converse"):
            # Claude thinks on only from signed thoughts: it must not be asked to.
            lost.append("reasoning")
    return Cell("lossy", tuple(lost)) if lost else WORKS
