"""What a model list tells of models: what the configuration and the catalogue know of them."""

from __future__ import annotations

import json

from extproc.flow.messages import Reply
from tests.kit import Dialogue, provider, route, settings


async def shown(model: str) -> list[str]:
    """The capabilities that a client of Ollama reads."""
    fast = route(("gone", "x"), ("acme", "gpt-4o"))
    models = ("gpt-4o", "text-embedding-3-small")
    config = settings(providers={"acme": provider(models=models)}, models={"fast": fast})
    dialogue = Dialogue(config)
    await dialogue.head("/api/show")
    answer = await dialogue.body(json.dumps({"model": model}).encode())
    assert isinstance(answer, Reply), answer
    return json.loads(answer.body)["capabilities"]


async def test_a_model_tells_what_it_can_do() -> None:
    assert await shown("gpt-4o") == ["completion", "tools", "vision"]
    assert await shown("text-embedding-3-small") == ["embedding"]


async def test_an_alias_tells_what_its_first_model_can_do() -> None:
    assert await shown("fast") == ["completion", "tools", "vision"]
