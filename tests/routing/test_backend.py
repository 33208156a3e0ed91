"""In which of its languages a provider is asked."""

from __future__ import annotations

import pytest

from extproc import discover
from extproc.config.schema import Provider
from extproc.model.call import LOCAL
from extproc.model.embed import Opaque
from extproc.model.errors import Unsupported
from extproc.routing.backend import Backend, compile_backend
from tests.kit import provider, settings, snapshot
from tests.routing.world import chosen

REGISTRY = discover.registry()
CHAT, ANTHROPIC, GEMINI, CONVERSE = (
    "openai_chat", "anthropic_messages", "gemini_generate", "bedrock_converse",
)  # fmt: skip
CLAUDE = "claude-sonnet-4-5"
ON_BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{ON_BEDROCK}"


def backend(made: Provider) -> Backend:
    dialects = {name: REGISTRY.dialects[name] for name in (made.dialect, *made.also)}
    return compile_backend(made, dialects, REGISTRY.credential)


BEDROCK = backend(provider(dialect=CONVERSE, also=(ANTHROPIC,), variant="bedrock"))
VERTEX = backend(provider(dialect=GEMINI, also=(ANTHROPIC,), variant="vertex", project="p"))
TURNED = backend(provider(dialect=ANTHROPIC, also=(GEMINI,), variant="vertex", project="p"))
OPENAI = backend(provider(also=("openai_responses",)))
BOTH = backend(provider(also=(ANTHROPIC,)))
ONE = backend(provider())


@pytest.mark.parametrize(
    ("of", "client", "model", "language"),
    [
        # Converse has every model; Claude has a language of its own besides.
        (BEDROCK, ANTHROPIC, ON_BEDROCK, ANTHROPIC),
        (BEDROCK, ANTHROPIC, ARN, ANTHROPIC),
        (BEDROCK, ANTHROPIC, "amazon.nova-pro-v1:0", CONVERSE),
        (BEDROCK, CHAT, ON_BEDROCK, CONVERSE),
        (BEDROCK, CONVERSE, ON_BEDROCK, CONVERSE),
        (BEDROCK, ANTHROPIC, "", CONVERSE),
        # Vertex has Claude in that language alone, and never its own models.
        (VERTEX, CHAT, CLAUDE, ANTHROPIC),
        (VERTEX, GEMINI, CLAUDE, ANTHROPIC),
        (VERTEX, ANTHROPIC, "publishers/anthropic/models/claude@2025", ANTHROPIC),
        (VERTEX, ANTHROPIC, "gemini-2.5-pro", GEMINI),
        (VERTEX, CHAT, "gemini-2.5-pro", GEMINI),
        (VERTEX, ANTHROPIC, "endpoints/1234", GEMINI),
        (TURNED, CHAT, "gemini-2.5-pro", GEMINI),
        (TURNED, GEMINI, "text-embedding-005", GEMINI),
        (TURNED, CHAT, CLAUDE, ANTHROPIC),
        # Elsewhere a language is one for all models.
        (OPENAI, "openai_responses", "gpt-4o", "openai_responses"),
        (OPENAI, ANTHROPIC, "gpt-4o", CHAT),
        (BOTH, ANTHROPIC, "deepseek-chat", ANTHROPIC),
        (BOTH, GEMINI, CLAUDE, CHAT),
        (ONE, GEMINI, CLAUDE, CHAT),
    ],
)
def test_the_language_of_a_call(of: Backend, client: str, model: str, language: str) -> None:
    assert of.dialect(client, model).name == language


def test_a_language_that_is_not_built_in_is_not_spoken() -> None:
    made = provider(dialect=CONVERSE, also=(ANTHROPIC,), variant="bedrock")
    dialects = {CONVERSE: REGISTRY.dialects[CONVERSE]}
    alone = compile_backend(made, dialects, REGISTRY.credential)
    assert alone.dialect(ANTHROPIC, ON_BEDROCK).name == CONVERSE


def test_what_is_carried_goes_where_the_language_is_for_any_model() -> None:
    """A file of Anthropic's is nothing to Bedrock, though Claude is there."""
    bedrock = provider("bedrock", dialect=CONVERSE, also=(ANTHROPIC,), variant="bedrock")
    file = Opaque(ANTHROPIC, "POST", "/v1/files", "application/json")
    with pytest.raises(Unsupported, match="no provider here speaks anthropic_messages"):
        chosen(snapshot(settings(providers={"bedrock": bedrock}, models={})).atlas, LOCAL, file)
    home = provider("home", dialect=ANTHROPIC)
    both = settings(providers={"bedrock": bedrock, "home": home}, models={})
    assert chosen(snapshot(both).atlas, LOCAL, file).targets[0].target.provider == "home"
