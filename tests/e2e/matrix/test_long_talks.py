"""Long talks: one that moves to another provider at every turn, and a coding agent's loop of tools.

Nobody loses a word on the way. What was thought and signed somewhere goes home when
the talk comes home, reaches nobody else, and where it had to stay away it is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from extproc.mock.speakers import (
    anthropic_rules,
    bedrock_rules,
    gemini_rules,
    responses_rules,
)
from extproc.model.fields import Field
from tests.e2e.matrix.clients import (
    AnthropicClient,
    BedrockClient,
    ChatClient,
    CohereClient,
    GeminiClient,
    OllamaClient,
    ResponsesClient,
)
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import PROVIDERS, alias, fallen_to
from tests.e2e.matrix.run import asked
from tests.e2e.matrix.scenarios.tools import WEATHER
from tests.e2e.matrix.talk import Ask, Client, Result, Said
from tests.e2e.matrix.words import in_words

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")

SEALS: Mapping[str, str] = {
    "anthropic_messages": anthropic_rules.SIGNATURE,
    "gemini_generate": gemini_rules.SIGNATURE,
    "openai_responses": responses_rules.SEAL,
    "bedrock_converse": bedrock_rules.SIGNATURE,
}
"""what a provider signs with"""
STOPS = (*SEALS, "openai_chat", "ollama_chat", "cohere_chat")
"""the way of a talk, again and again"""
FOREIGN = tuple(seal for name, seal in SEALS.items() if name != "anthropic_messages")
"""to the provider that is away"""
TURNS = 20
KEEPS_SEALS = (AnthropicClient, ResponsesClient, GeminiClient, BedrockClient)
KEEPS_NONE = (ChatClient, OllamaClient, CohereClient)


def on(provider: str) -> str:
    return alias(provider, "thinking" if "thinking" in PROVIDERS[provider].skills else "")


@pytest.mark.parametrize(
    ("falls", "stream"),
    [(False, False), (False, True), (True, True)],
    ids=["whole", "streamed", "by fallback"],
)
@pytest.mark.parametrize("client", [*KEEPS_SEALS, *KEEPS_NONE], ids=lambda kind: kind.dialect)
def test_a_talk_that_moves_at_every_turn(
    matrix: Matrix, client: type[Client], falls: bool, stream: bool
) -> None:
    """Row A12: thinking and tools over seven providers; a move may come between a call and its
    result, and also because the provider that was asked first is away."""
    sdk, mock = matrix.client(client), matrix.gateway.mock
    name = (lambda provider: fallen_to(on(provider))) if falls else on
    talk = sdk.talk(Ask(name(STOPS[0]), tools=(WEATHER,), think=True))
    sealed: Counter[str] = Counter()
    said, texts = Said(), list[str]()
    for turn in range(TURNS):
        provider = STOPS[turn % len(STOPS)]
        text = f"result {turn}" if said.calls else f"Use get_weather, turn {turn}"
        if said.calls:
            talk.results([Result(call, text) for call in said.calls])
        else:
            talk.user(text)
        texts.append(text)
        talk.move(name(provider))
        mock.clear()
        said = talk.ask(stream=stream)
        *away, request = asked(mock.requests)
        assert len(away) == falls
        for refused in away:
            assert not any(seal in refused.text for seal in FOREIGN)
        body = json.dumps(request.json)
        assert all(one in body for one in texts), (turn, provider)
        seals = {name: body.count(seal) for name, seal in SEALS.items()}
        own = seals.pop(provider, 0)
        assert not any(seals.values()), f"another's seal came to {provider}"
        assert "sluice1." not in body
        if client in KEEPS_SEALS:
            assert own == sealed[provider], f"not all of {provider}'s own seals came home"
        if turn and (client in KEEPS_SEALS or provider != client.dialect):
            # what nobody has sealed goes home as it is, whoever thought it
            word = in_words(client.dialect, Field.THINKING)
            assert word in sdk.last.dropped, (turn, provider, sdk.last.dropped)
        sealed[provider] += provider in SEALS and _is_sealed(provider, said)
    assert client in KEEPS_NONE or all(sealed[name] for name in SEALS), sealed


def _is_sealed(provider: str, said: Said) -> bool:
    """Gemini seals all that it says, the others what they think."""
    return provider == "gemini_generate" or bool(said.thinking)


SHELL: Any = {
    "type": "function",
    "name": "shell",
    "description": "Runs a command and gives what it says.",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
        "additionalProperties": False,
    },
    "strict": False,
}
LOOP = 10


@pytest.mark.parametrize(
    "provider",
    ["anthropic_messages", "gemini_generate", "bedrock_converse", "bedrock-claude", "mistral"],
)
def test_a_coding_agents_loop_abroad(matrix: Matrix, provider: str) -> None:
    """One question and ten tool calls by the Responses API, with all that a coding agent sets."""
    client, mock = matrix.client(ResponsesClient), matrix.gateway.mock
    options: Any = {
        "model": on(provider),
        "instructions": "You are a coding agent.",
        "tools": [SHELL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "session-1",
        "stream": True,
    }
    items: list[Any] = [{"role": "user", "content": "Use shell to make the tests pass"}]
    for turn in range(LOOP):
        mock.clear()
        done = _finished(client.sdk.responses.create(input=items, **options))
        (request,) = asked(mock.requests)
        body = json.dumps(request.json)
        assert all(f"exit code {past}" in body for past in range(turn))
        calls = [item for item in done.output if item.type == "function_call"]
        assert [call.name for call in calls] == ["shell"], done
        items += [item.to_dict() for item in done.output]
        again = "then use shell" if turn + 1 < LOOP else "all tests pass"
        output = f"exit code {turn}, {again}"
        result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": output}
        items.append(result)
    answer = _finished(client.sdk.responses.create(input=items, **options))
    assert answer.output_text.startswith("You said: "), answer
    assert "store" not in client.last.dropped


def _finished(events: Any) -> Any:
    last = None
    for event in events:
        last = event
    assert last is not None
    assert last.type == "response.completed", last
    return last.response
