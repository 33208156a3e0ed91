"""What is spoiled: our fixtures, and the recorded exchanges where there are any.

Replies come as frames, so that an event can be spoiled and framed again (a binary
stream's checksums would hide all else). A dialect that has no request among the
fixtures gets those of the others, as rendered for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from extproc.codec import aws_eventstream
from extproc.discover import registry
from extproc.model.call import ANY, Capabilities, OnLossy, Target
from extproc.model.chat import ListModels
from extproc.model.dialect import Dialect, Rendered, RequestHead
from extproc.model.embed import Opaque, Request
from extproc.model.errors import GatewayError
from tests import transcripts

FIXTURES = Path(__file__).parents[1] / "dialects" / "fixtures"
SSE, NDJSON, EVENTS, JSON = (
    *("text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"),
    "application/json",
)
_TYPES = {".sse": SSE, ".ndjson": NDJSON, ".events": EVENTS, ".json": JSON}
MOST_GOOD = 500
"""requests of one dialect that are rendered for all"""
_APIS = {
    "anthropic-messages": "anthropic_messages",
    "bedrock-converse": "bedrock_converse",
    "cohere-chat": "cohere_chat",
    "cohere-embed": "cohere_chat",
    "cohere-rerank": "cohere_chat",
    "gemini": "gemini_generate",
    "gemini-embed": "gemini_generate",
    "ollama": "ollama_chat",
    "openai-chat": "openai_chat",
    "openai-completions": "openai_completions",
    "openai-embeddings": "openai_chat",
    "openai-responses": "openai_responses",
}
_PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
_BODIES = (
    _PLAIN,
    {"model": "m", "input": ["a", "b"], "encoding_format": "base64"},
    {"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1},
    {"model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]},
    {"model": "m", "prompt": "Hi", "input": "Hi", "stream": False, "text": "Hi"},
    {"prompt": "Hi", "provider": "acme", "context": [{"role": "user", "content": "x"}]},
    {"content": {"parts": [{"text": "a"}]}, "contents": [{"parts": [{"text": "a"}]}]},
)


@dataclass(frozen=True, slots=True)
class Reply:
    """`frames` joined are the body; those of EVENTS are `[type, payload]` as JSON."""

    dialect: str
    content_type: str
    status: int
    frames: tuple[bytes, ...]
    fixture: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    dialect: str
    head: RequestHead
    body: bytes


@dataclass(frozen=True, slots=True)
class Pair:
    """A request of `client`, and what it became for a provider."""

    client: str
    request: Request
    rendered: Rendered


def joined(frames: list[bytes], content_type: str) -> bytes:
    """The body that these frames make."""
    return b"".join(map(_framed, frames)) if content_type == EVENTS else b"".join(frames)


def _framed(line: bytes) -> bytes:
    try:
        kind, payload = json.loads(line)
    except (ValueError, TypeError):
        return line
    kind = str(kind).encode("ascii", "replace").decode()[:80]
    word = "exception" if kind.endswith("Exception") else "event"
    headers = {f":{word}-type": kind, ":message-type": word}
    return aws_eventstream.write(headers, json.dumps(payload).encode())


def _frames(body: bytes, content_type: str) -> tuple[bytes, ...]:
    match content_type:
        case "text/event-stream":
            end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
            return tuple(part + end for part in body.split(end) if part)
        case "application/x-ndjson" | "application/vnd.amazon.eventstream":
            return tuple(body.splitlines(keepends=True))
        case _:
            return (body,)


def _fixtures() -> Iterator[tuple[str, Path]]:
    for path in sorted(FIXTURES.glob("*/*")):
        if path.suffix in _TYPES:
            yield path.parent.name, path


def _recorded() -> Iterator[tuple[str, dict[str, object], bytes]]:
    for path in sorted(transcripts.FOLDER.glob("*.jsonl")):
        for exchange in transcripts.exchanges(path.name):
            if exchange["api"] in _APIS:
                yield _APIS[exchange["api"]], exchange, transcripts.body_of(exchange)


def target(dialect: str, on_lossy: OnLossy = OnLossy.DROP, can: Capabilities = ANY) -> Target:
    return Target("acme", "some-model", dialect, capabilities=can, on_lossy=on_lossy)


class Material:
    """All of it, by dialect. `recorded` False leaves the recorded exchanges out.

    `good` are the requests that are translated as they are. `pairs` lie by provider
    and client; those that are carried only, apart in `carried`.
    """

    def __init__(self, *, recorded: bool) -> None:
        self.dialects: dict[str, Dialect] = dict(sorted(registry().dialects.items()))
        self.names = list(self.dialects)
        self.replies: dict[str, list[Reply]] = {name: [] for name in self.names}
        self.asked: dict[str, list[Asked]] = {name: [] for name in self.names}
        for name, path in _fixtures():
            body, kind = path.read_bytes(), _TYPES[path.suffix]
            if path.name.startswith("request"):
                self._ask(name, body)
            else:
                self.replies[name].append(Reply(name, kind, 200, _frames(body, kind)))
        for body in _BODIES:
            for name in self.names:
                self._ask(name, json.dumps(body).encode())
        if recorded:
            self._record()
        self.good: dict[str, list[Asked]] = {name: [] for name in self.names}
        self.pairs: dict[str, dict[str, list[Pair]]] = {name: {} for name in self.names}
        self.carried: dict[str, dict[str, list[Pair]]] = {name: {} for name in self.names}
        self._render()
        self.frames = [f for some in self.replies.values() for r in some for f in r.frames[:40]]

    def _ask(self, name: str, body: bytes) -> None:
        """To every endpoint; a prefix gets a model's name and what some dialects ask of one."""
        for endpoint in self.dialects[name].endpoints:
            verbs = ("x", "m:generateContent", "m:streamGenerateContent", "m/converse-stream")
            for verb in verbs if endpoint.path.endswith("*") else ("",):
                path = endpoint.path.removesuffix("*") + verb
                data = body if endpoint.method == "POST" else b""
                head = RequestHead(endpoint.method, path, "", {}, endpoint.operation)
                self.asked[name].append(Asked(name, head, data))

    def _record(self) -> None:
        for name, exchange, body in _recorded():
            headers = exchange["response_headers"]
            assert isinstance(headers, dict)
            kind = str(headers.get("content-type", JSON)).split(";")[0]
            status = exchange["status"]
            assert isinstance(status, int)
            frames = (body,) if kind == EVENTS else _frames(body, kind)
            self.replies[name].append(Reply(name, kind, status, frames, fixture=False))
            path, _, query = str(exchange["path"]).partition("?")
            asked = json.dumps(exchange["request"]).encode()
            some = [e for e in self.dialects[name].endpoints if _answers(e.path, path)]
            if some:
                head = RequestHead("POST", path, query, {}, some[0].operation)
                self.asked[name].append(Asked(name, head, asked))

    def _render(self) -> None:
        """Every request that is good, for every provider; and, in its language, one more to spoil."""
        for name, some in self.asked.items():
            for asked in some:
                request = self._parsed(asked)
                if request is None or isinstance(request, ListModels):
                    continue
                if not isinstance(request, Opaque):
                    self.good[name].append(asked)
                    if len(self.good[name]) > MOST_GOOD:
                        continue
                for provider, dialect in self.dialects.items():
                    if dialect.speaks_to_providers:
                        self._pair(name, request, provider)

    def _parsed(self, asked: Asked) -> Request | None:
        try:
            return self.dialects[asked.dialect].parse_request(asked.head, asked.body)
        except GatewayError:
            return None

    def _pair(self, client: str, request: Request, provider: str) -> None:
        dialect = self.dialects[provider]
        try:
            rendered = dialect.render_request(request, target(provider))
        except GatewayError:
            return
        where = self.carried if isinstance(request, Opaque) else self.pairs
        where[provider].setdefault(client, []).append(Pair(client, request, rendered))
        if client == provider:
            return
        for endpoint in dialect.endpoints:
            if endpoint.path.endswith(rendered.path) and endpoint.operation != "opaque":
                head = RequestHead("POST", endpoint.path, "", {}, endpoint.operation)
                self.asked[provider].append(Asked(provider, head, rendered.body))


def _answers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def without_raw(request: Request) -> Request:
    """As a stage leaves a request that it changed."""
    match request:
        case ListModels():
            return request
        case _ if hasattr(request, "chat"):
            chat = getattr(request, "chat")  # noqa: B009
            return replace(request, chat=replace(chat, raw=b""))  # type: ignore[call-arg]
        case _:
            return replace(request, raw=b"")  # type: ignore[call-arg]


__all__ = ["EVENTS", "Asked", "Material", "Pair", "Reply", "joined", "target"]
