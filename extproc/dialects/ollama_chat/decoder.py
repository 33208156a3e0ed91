"""Ollama replies, whole or streamed, to events.

A whole reply is a stream of one line, so one reader serves both. Tool calls come
whole, some of them without an id; each gets one, once. A reply without its last
line (`done`) is `Failed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from extproc.codec.ndjson import Line, LineSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import (
    ENDED_EARLY,
    Framed,
    Unreadable,
    bad,
    read_exactly,
    read_object,
)
from extproc.dialects._parts import Choice, Parts
from extproc.dialects._tools import arguments_text, minted_id
from extproc.dialects.ollama_chat.embed import is_embedding, whole_vectors
from extproc.dialects.ollama_chat.errors import line_error, provider_error
from extproc.dialects.ollama_chat.words import NAME, read_usage, reason_of
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.reply import Event, NoteKind, PartKind, Started, TextDelta, Usage, Used


def reply_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply. What was asked as a stream is read line by line, whatever its label."""

    def streams(reply: ReplyHead, start: bytes) -> bool:
        return start == b"{" and (rendered.stream or reply.streams)

    embedding = is_embedding(rendered.path)
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole_vectors if embedding else lambda body: _whole(body, rendered.renamed),
            stream=lambda: Framed(LineSplitter(), LineReader(rendered.renamed)),
            streams=(lambda _head, _start: False) if embedding else streams,
        ),
    )


def _whole(body: bytes, renamed: Mapping[str, str]) -> Sequence[Event]:
    reader = LineReader(renamed)
    try:
        reader.line(_read(body))
    except Unreadable:
        # A stream that nobody asked for.
        splitter = LineSplitter()
        for line in (*splitter.feed(body), *splitter.close()):
            if not reader.done:
                reader.frame(line)
    if not reader.done:
        reader.close()
    return reader.out


def _read(data: bytes) -> dict[str, Json]:
    """Arguments of tools become text, in which a number must not change."""
    return read_exactly(data) if b'"tool_calls"' in data else read_object(data)


class LineReader:
    """See `_decoding.Reader`."""

    __slots__ = (
        "_calls",
        "_choice",
        "_ids",
        "_parts",
        "_renamed",
        "_started",
        "_top",
        "_usage",
        "done",
        "out",
    )

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._parts = Parts(NAME, reason_of)
        self._renamed = renamed
        self._choice: Choice | None = None
        self._started = ""
        self._top: frozenset[str] = frozenset()
        self._calls = 0
        self._ids: set[str] = set()
        self._usage: Usage | None = None
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Line) -> bool:
        if frame.data is not None:
            self.line(_read(frame.data))
        return True

    def line(self, line: dict[str, Json]) -> None:
        """One object: the first that says something starts the reply, the one that is `done` ends it."""
        self._parts.out = self.out
        message = line.get("message")
        choice = self._choice
        if choice is None or "error" in line:
            choice = self._begin(line)
        if isinstance(message, dict):
            content = message.get("content")
            if len(message) == 2 and isinstance(content, str) and choice.kind is PartKind.TEXT:
                if content:
                    self._parts.out.append(TextDelta(content, choice.part))
            else:
                self._message(choice, message, "content")
        elif "response" in line or "thinking" in line:
            said = {name: line[name] for name in _SAID if name in line}
            self._message(choice, said, "response")
        if line.get("logprobs"):
            self._parts.note(choice, NoteKind.LOGPROBS, line["logprobs"])
        if line.get("done") is True:
            self._end(choice, line)

    def _begin(self, line: dict[str, Json]) -> Choice:
        if line.get("error"):
            raise line_error(line)
        if self._choice is not None:
            return self._choice
        if "done" not in line and not _SAID_ANYWHERE & line.keys():
            raise bad("the provider's reply is not Ollama's")
        model, created = line.get("model"), line.get("created_at")
        self._started = created if isinstance(created, str) else ""
        fields: dict[str, Json] = {}
        if line.get("done") is not True:
            # What is on every line; what only the last one has belongs to the end.
            fields = {name: value for name, value in line.items() if name not in _KNOWN and value}
        self._top = frozenset(fields)
        self._parts.started(
            Started(
                id="",
                model=model if isinstance(model, str) else "",
                created=_seconds(self._started),
                extra=Extra(NAME, fields) if fields else NOTHING,
            )
        )
        self._choice = self._parts.choice(0)
        return self._choice

    def _message(self, choice: Choice, message: Mapping[str, Json], text: str) -> None:
        parts = self._parts
        for name in ("thinking", text):
            value = message.get(name)
            if isinstance(value, str) and value:
                (parts.thinking if name == "thinking" else parts.text)(choice, value)
        for name, value in message.items():
            if name == "tool_calls" and isinstance(value, list):
                for call in value:
                    self._call(choice, call)
            elif value and name not in _MESSAGE:
                parts.note(choice, NoteKind.EXTRA, {name: value})

    def _call(self, choice: Choice, value: Json) -> None:
        call = value if isinstance(value, dict) else {}
        function = call.get("function")
        if not isinstance(function, dict):
            return
        name, arguments, given = (
            function.get("name"),
            function.get("arguments"),
            call.get("id"),
        )
        call_id = given if isinstance(given, str) else ""
        if not call_id or call_id in self._ids:
            call_id = minted_id(NAME, self._started, self._calls, name)
        self._ids.add(call_id)
        tool = name if isinstance(name, str) else ""
        text = arguments if isinstance(arguments, str) else arguments_text(arguments or {})
        tool = self._renamed.get(tool, tool)
        self._parts.whole_tool(choice, call_id, tool, text)
        self._calls += 1

    def _end(self, choice: Choice, line: dict[str, Json]) -> None:
        self.done = True
        word = line.get("done_reason")
        choice.raw = word if isinstance(word, str) else None
        for name, value in line.items():
            if name not in _LAST and name not in self._top and value:
                choice.extra[name] = value
        self._usage = read_usage(line)
        self._parts.end(self._usage)

    def close(self) -> None:
        raise bad(ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)


_SAID = ("response", "thinking", "tool_calls")
_SAID_ANYWHERE = frozenset({"message", "response"})
_MESSAGE = frozenset({"role", "content", "response", "thinking", "tool_calls"})
_LAST = frozenset(
    {
        "model",
        "created_at",
        "message",
        "response",
        "thinking",
        "tool_calls",
        "logprobs",
        "done",
        "done_reason",
        "prompt_eval_count",
        "eval_count",
    }
)
_KNOWN = _LAST | {
    "context",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "error",
}


def _seconds(created: str) -> int | None:
    """Unix seconds of an RFC 3339 time, whose fraction may have nine digits."""
    head, dot, tail = created.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        created = head + tail[digits:]
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return None
