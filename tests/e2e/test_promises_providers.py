"""What is promised of providers: breadth, own hosts, paths and keys, connections, honest loss."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from extproc.config.catalogue import KNOWN
from extproc.config.load import load
from tests.e2e.everyone import CHAT_MODELS
from tests.e2e.harness import SLUICE, Gateway

Make = Callable[..., Gateway]


def ask(gateway: Gateway, model: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Hello"}]
    return gateway.openai().chat.completions.create(model=model, messages=messages, **more)


def said(pieces: Any) -> str:
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


# --- breadth


def test_every_provider_known_by_name_answers(make_gateway: Make, mock: Any) -> None:
    """B1, S1-2, S4-3, S4-69: at least twelve, whole and streamed; each gets its own credential."""
    extra = {
        "azure": {"api_version": "2024-10-21"},
        "vertex": {"project": "p", "region": "us-east5"},
    }
    providers = {
        name: {
            "endpoint": mock.base_url if one.dialects[0].startswith("openai") else mock.url,
            "api_key": f"key-of-{name}",
            "models": [f"model-of-{name}"],
            **extra.get(name, {}),
        }
        for name, one in KNOWN.items()
    }
    gateway = make_gateway(workers=1, providers=providers, models={})
    assert len(KNOWN) >= 12
    for name in KNOWN:
        mock.clear()
        whole = ask(gateway, f"model-of-{name}")
        assert whole.choices[0].message.content.startswith("You said: Hello"), name
        assert said(ask(gateway, f"model-of-{name}", stream=True)).startswith("You said: Hello"), (
            name
        )
        assert len(mock.requests) == 2
        for request in mock.requests:
            assert f"key-of-{name}" in str(request.raw_headers), name


FOUR_LINES = """  mine:
    dialect: openai_chat
    endpoint: {endpoint}
    models: ["*"]
"""


def test_an_openai_compatible_host_is_four_lines(
    make_gateway: Make, mock: Any, tmp_path: Path
) -> None:
    """B1, S3-1, S1-170, B7: and whatever model it is asked for goes to it as it is."""
    block = FOUR_LINES.format(endpoint=f"{mock.url}/some/where/v1")
    assert block.count("\n") == 4
    text = (
        f"server: {{host: 127.0.0.1, port: 0}}\nworkers: 1\ndata: {tmp_path}/data\n"
        f"log: {{format: json}}\nproviders:\n{block}"
    )
    gateway = make_gateway(text=text)
    assert ask(gateway, "org/model:tag").model == "org/model:tag"
    (request,) = mock.requests
    assert request.path == "/some/where/v1/chat/completions"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(("model", "path"), [("vllm/a-model", "/vllm/v1"), ("tgi", "/tgi/v1")])
def test_hosts_of_our_own(everyone: Gateway, model: str, path: str) -> None:
    """B7, S1-170: vLLM's and TGI's shapes, text and tools."""
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    called = ask(everyone, model, tools=[tool], tool_choice="required", stream=True)
    names = [
        call.function.name
        for piece in called
        for choice in piece.choices
        for call in choice.delta.tool_calls or ()
        if call.function and call.function.name
    ]
    assert names == ["look_up"]
    (request,) = everyone.mock.requests
    assert request.path == f"{path}/chat/completions"
    body: Any = request.json
    assert body["model"] == model


def test_azure_is_asked_by_its_deployment(everyone: Gateway) -> None:
    """S4-6"""
    ask(everyone, "deployed-gpt")
    (request,) = everyone.mock.requests
    path = "/res/openai/deployments/deployed-gpt/chat/completions?api-version=2024-10-21"
    assert request.path == path
    assert request.headers["api-key"] == "key-of-azure"
    assert "authorization" not in request.headers


def test_a_key_in_the_environment_makes_its_provider_and_no_other(tmp_path: Path) -> None:
    """S4-13, S1-61, S1-62"""
    file = tmp_path / "sluice.yaml"
    file.write_text("{}\n")
    for variable, name in (
        ("COHERE_API_KEY", "cohere"),
        ("OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"),
    ):
        made = load(file, {variable: "secret"}).providers
        assert list(made) == [name]
        assert made[name].unavailable is None
        done = subprocess.run(
            [str(SLUICE), "check", str(file)],
            env={"PATH": os.environ["PATH"], variable: "secret"},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert f"\n  {name}: " in done.stdout
        assert "secret" not in done.stdout


@pytest.mark.parametrize(
    ("variable", "models"),
    [
        ("OPENAI_API_KEY", ["gpt-4o", "o3-mini", "text-embedding-3-small", "tts-1", "whisper-1"]),
        ("OPENAI_API_KEY", ["omni-moderation-latest", "dall-e-3", "gpt-image-1", "ft:gpt-4o:me"]),
        ("COHERE_API_KEY", ["command-a-03-2025", "embed-v4.0", "rerank-v3.5"]),
    ],
)
def test_a_known_provider_serves_all_that_it_is_known_for(variable: str, models: list[str]) -> None:
    """A14, A15, A16: nobody has to list the models of its other endpoints."""
    name = variable.partition("_")[0].lower()
    (provider,) = load(None, {variable: "x"}).providers.values()
    assert provider.name == name
    for model in models:
        assert any(model.startswith(one.rstrip("*")) for one in provider.models), model


# --- vectors

EMBEDDERS = {
    "openai": "text-embedding-3-small",
    "gemini": "gemini-embedding-001",
    "bedrock": "amazon.titan-embed-text-v2:0",
    "ollama": "nomic-embed-text",
    "cohere": "embed-v4.0",
}


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_the_same_as_numbers_and_packed(everyone: Gateway, name: str) -> None:
    """A14, S3-25: OpenAI's two forms from any provider; what it counted is in the account."""
    create = everyone.openai().embeddings.with_raw_response.create
    ask_it: dict[str, Any] = {"model": EMBEDDERS[name], "input": "a river"}
    numbers = create(**ask_it, encoding_format="float")
    packed = create(**ask_it, encoding_format="base64")
    as_numbers = numbers.parse().data[0].embedding
    raw = json.loads(packed.text)["data"][0]["embedding"]
    assert isinstance(raw, str)
    as_packed = struct.unpack(f"<{len(as_numbers)}f", base64.b64decode(raw))
    assert as_packed == pytest.approx(as_numbers, abs=1e-6)
    line = everyone.wait_exchange(numbers.headers["x-sluice-call-id"])
    assert line["provider"] == name
    # Google's API does not count what it is given here.
    assert line.get("input_tokens", 0) > 0 or name == "gemini"


# --- connections


def test_a_hundred_calls_share_connections(everyone: Gateway) -> None:
    """S4-34"""
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: ask(everyone, "gpt-4o").id, range(100)))
    assert len(done) == 100
    assert len(everyone.mock.requests) == 100
    assert len({request.connection for request in everyone.mock.requests}) <= 4


# --- credentials of clients


def test_a_signed_request_is_told_to_bring_a_key(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5: boto3 with AWS's keys in place of a bearer key."""
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="x" * 40,
        config=Config(retries={"max_attempts": 0}, proxies={}),
    )
    with pytest.raises(ClientError, match="AWS_BEARER_TOKEN_BEDROCK") as caught:
        client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "x"}]}])
    # AWS says it with 403, and so does its language here.
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert not gateway.mock.requests


# --- capabilities


def test_what_a_model_can_is_configurable(make_gateway: Make, mock: Any) -> None:
    """B5, S3-3: the catalogue speaks first of nobody; the file overrides it, and unknown is no no."""
    acme = {
        "dialect": "anthropic_messages",
        "endpoint": mock.url,
        "models": ["*"],
        "capabilities": {"blind-*": {"vision": False}, "claude-*": {"max_output": 77}},
    }
    gateway = make_gateway(workers=1, providers={"acme": acme}, models={})
    seeing: Any = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        }
    ]
    create = gateway.openai().chat.completions.create
    create(model="nobody-knows-it", messages=seeing)
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="blind-one", messages=seeing)
    assert caught.value.response.headers["x-sluice-error-origin"] == "gateway"
    ask(gateway, "claude-sonnet-4-6")
    unknown, known = (json.loads(request.body) for request in mock.requests)
    assert known["max_tokens"] == 77
    assert unknown["max_tokens"] != 77


def test_a_model_that_nobody_serves_is_not_found(everyone: Gateway) -> None:
    """B5: a provider that serves named models alone is asked for no other."""
    with pytest.raises(openai.NotFoundError) as caught:
        ask(everyone, "no-such-model")
    assert caught.value.code == "model_not_found"
    assert not everyone.mock.requests


def test_an_alias_stays_the_client_s_word(everyone: Gateway) -> None:
    """B4: the real name is told in a header."""
    got = everyone.openai().chat.completions.with_raw_response.create(
        model="fast", messages=[{"role": "user", "content": "Hello"}], stream=False
    )
    assert got.headers["x-sluice-model"] == "gpt-4o-mini"
    listed = {one.id for one in everyone.openai().models.list()}
    assert {"fast", *CHAT_MODELS.values()} <= listed


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "field", [{"seed": 1}, {"metadata": {"a": "b"}}, {"extra_body": {"zzz": 1}}], ids=str
)
def test_what_is_dropped_is_named_or_refused(
    everyone: Gateway, field: dict[str, Any], strict: bool
) -> None:
    """B6, S3-27: in the client's own word, in the header and in the log."""
    name = next(iter(field.get("extra_body", field)))
    create = everyone.openai().chat.completions.with_raw_response.create
    messages: Any = [{"role": "user", "content": "Hello"}]
    ask_it: dict[str, Any] = {"model": CHAT_MODELS["anthropic"], "messages": messages, **field}
    if strict:
        with pytest.raises(openai.BadRequestError) as caught:
            create(**ask_it, extra_headers={"x-sluice-strict": "1"})
        assert caught.value.param == name
        assert not everyone.mock.requests
        return
    got = create(**ask_it)
    assert got.headers["x-sluice-dropped"] == name
    assert everyone.wait_exchange(got.headers["x-sluice-call-id"])["dropped"] == [name]
