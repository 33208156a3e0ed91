"""What goes over the wire in `make bench`: requests of clients, replies of providers.

A request is OpenAI Chat, whole as bytes of HTTP/1.1. Its model names the reply,
a file for `upstream.c`; names that begin with `claude` are answered in Anthropic's
language, so that a gateway must translate them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

KEY = "bench-key-0123456789abcdef"
PATH = "/v1/chat/completions"
EVENTS = 50
"""pieces of text in a stream"""
SIZES = (1, 10, 100)
"""KB of a prompt, and of a whole reply"""
HELD = "held"
"""the model whose stream begins and never goes on"""
CLAUDE = "claude"
ILL = "ill"
"""models whose names begin like this are answered with 529"""
ILL_NAMES = 24
_USED = {"prompt_tokens": 250, "completion_tokens": EVENTS, "total_tokens": 250 + EVENTS}
_WORDS = "lorem ipsum dolor "


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of exchange. `ending` is in the last bytes of every good reply."""

    name: str
    model: str
    kb: int
    stream: bool
    ending: str
    translated: bool = False

    def body(self) -> bytes:
        asked: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": _text(self.kb << 10)}],
        }
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return _json(asked)

    def request(self) -> bytes:
        """The whole request, headers and all."""
        body = self.body()
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
            f"user-agent: bench\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def whole(kb: int) -> Case:
    return Case(f"{kb} KB whole", f"whole-{kb}", kb, stream=False, ending="}}")


def streamed(kb: int) -> Case:
    return Case(f"{kb} KB streamed", "streamed", kb, stream=True, ending="[DONE]")


def translated(kb: int) -> Case:
    name = f"{kb} KB streamed, translated"
    return Case(name, CLAUDE, kb, stream=True, ending="[DONE]", translated=True)


def held() -> Case:
    return Case("held open", HELD, 1, stream=True, ending="")


def write_replies(folder: Path) -> None:
    """The files that `upstream.c` serves."""
    for kb in SIZES:
        case = whole(kb)
        (folder / case.model).write_bytes(_whole(reply(case)[0]))
    for case in (streamed(1), translated(1)):
        (folder / case.model).write_bytes(_pieces(reply(case), over=True))
    for number in range(ILL_NAMES):
        (folder / f"{ILL}-{number}").write_bytes(_overloaded())
    (folder / HELD).write_bytes(_pieces(reply(streamed(1))[:2], over=False))


def reply(case: Case) -> list[bytes]:
    """A provider's answer: one body, or the events of a stream."""
    if not case.stream:
        return [_json(_completion(case.kb))]
    if case.translated:
        return [f"event: {e['type']}\ndata: ".encode() + _json(e) + b"\n\n" for e in _anthropic()]
    return [*(b"data: " + _json(e) + b"\n\n" for e in _openai()), b"data: [DONE]\n\n"]


def _text(size: int) -> str:
    return (_WORDS * (size // len(_WORDS) + 1))[:size]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _completion(kb: int) -> dict[str, object]:
    message = {"role": "assistant", "content": _text(kb << 10)}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _USED,
    }


def _whole(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _overloaded() -> bytes:
    body = _json({"error": {"message": "busy", "type": "overloaded_error", "code": None}})
    head = "HTTP/1.1 529 Overloaded\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _pieces(events: Sequence[bytes], *, over: bool) -> bytes:
    """A stream, one piece an event; the first leaves with the headers."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    return head + b"\0".join(chunks) + (b"0\r\n\r\n" if over else b"")


def _openai() -> list[dict[str, object]]:
    def chunk(delta: object, finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**about, "choices": [choice], "usage": None}

    about = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
    }
    words: Iterable[dict[str, object]] = (chunk({"content": f"word{i} "}) for i in range(EVENTS))
    first, last = chunk({"role": "assistant", "content": ""}), chunk({}, "stop")
    return [first, *words, last, {**about, "choices": [], "usage": _USED}]


def _anthropic() -> list[dict[str, object]]:
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench"}
    usage = {"input_tokens": 250, "output_tokens": 1}
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    block: dict[str, object] = {"type": "content_block_start", "index": 0}
    delta: dict[str, object] = {"type": "content_block_delta", "index": 0}
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        {**block, "content_block": {"type": "text", "text": ""}},
        *({**delta, "delta": {"type": "text_delta", "text": f"word{i} "}} for i in range(EVENTS)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stopped, "usage": {"output_tokens": EVENTS}},
        {"type": "message_stop"},
    ]
