"""What OpenAI's API has beside chat, through the real Envoy, with the stock SDK."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.harness import Gateway

MODEL = "gpt-4o"


def test_embeddings(everyone: Gateway) -> None:
    reply = everyone.openai().embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(reply.data) == 2
    assert reply.usage.prompt_tokens == 2


def test_pictures_whole_and_streamed(gateway: Gateway) -> None:
    images = gateway.openai().images
    usage = images.generate(model=MODEL, prompt="x").usage
    assert usage
    assert usage.total_tokens == 150
    *_, last = images.generate(model=MODEL, prompt="a cat", stream=True)
    assert last.type == "image_generation.completed"


def test_sound_both_ways(gateway: Gateway) -> None:
    """S4-65"""
    audio = gateway.openai().audio
    assert audio.speech.create(model=MODEL, voice="alloy", input="hi").content.startswith(b"ID3")
    heard: Any = audio.transcriptions.create(model=MODEL, file=("a.mp3", b"x" * 100_000))
    assert heard.received["file"] == 100_000


@pytest.mark.parametrize("size", [27, 40_000_000])
def test_files_of_any_size(gateway: Gateway, size: int) -> None:
    """S0-12"""
    files = gateway.openai().files
    assert files.create(file=("d.jsonl", b"x" * size), purpose="batch").bytes == size
    assert files.content("file-1").content == b'{"custom_id":"one"}\n'


def test_a_providers_404_and_realtime(gateway: Gateway) -> None:
    client = gateway.openai()
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.list()
    with pytest.raises(openai.BadRequestError, match="realtime"):
        client.post("/realtime/client_secrets", cast_to=object, body={})
