"""Legacy completions replies, whole or streamed, to events.

Chunks and whole replies have the same shape, so one reader serves both. A
stream ends with `[DONE]`, or where every choice has said why it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extproc.codec.sse import Frame, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import ENDED_EARLY, Framed, bad, read_object
from extproc.dialects._parts import Choice, Parts
from extproc.dialects.openai_chat.errors import provider_error, stream_error
from extproc.dialects.openai_completions.words import NAME, read_usage, reason_of
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.reply import Event, NoteKind, PartKind, Started, TextDelta, Usage, Used


def completion_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply: its head and first byte decide what it is."""
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=_whole,
            stream=lambda: Framed(SseSplitter(), ChunkReader(rendered.withhold_usage)),
            streams=decoding.sse_streams,
        ),
    )


def _whole(body: bytes) -> Sequence[Event]:
    value = read_object(body)
    choices = value.get("choices")
    if not value.get("error") and (not isinstance(choices, list) or not choices):
        raise bad("the provider's reply has no choices")
    reader = ChunkReader(withhold_usage=False)
    reader.chunk(value)
    reader.finish()
    return reader.out


class ChunkReader:
    """See `_decoding.Reader`."""

    __slots__ = ("_has_started", "_parts", "_usage", "_withhold", "done", "out")

    def __init__(self, withhold_usage: bool) -> None:
        self._parts = Parts(NAME, reason_of)
        self._has_started = False
        self._withhold = withhold_usage
        self._usage: Usage | None = None
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Frame) -> bool:
        data = frame.data
        if data is None:
            return True
        if data.startswith(b"[DONE]"):
            if not self._parts.choices:
                raise bad(ENDED_EARLY)
            self.finish()
            return True
        return self.chunk(read_object(data))

    def chunk(self, chunk: Mapping[str, Json]) -> bool:
        """Reads a chunk; false when it is the usage that the client did not ask for."""
        self._parts.out = self.out
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage)
        if chunk.get("error") or chunk.get("object") == "error":
            raise stream_error(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return True
        if not self._has_started:
            self._start(chunk)
        for position, item in enumerate(choices):
            if isinstance(item, dict):
                self._choice(item, position)
        return bool(choices) or usage is None or not self._withhold

    def _start(self, chunk: Mapping[str, Json]) -> None:
        """The first chunk that names itself; some begin with one that says nothing."""
        reply_id, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        if not reply_id and not chunk.get("choices"):
            return
        self._has_started = True
        fields = {name: item for name, item in chunk.items() if name not in _TOP and item}
        self._parts.started(
            Started(
                id=reply_id if isinstance(reply_id, str) else "",
                model=model if isinstance(model, str) else "",
                created=created if isinstance(created, int) else None,
                extra=Extra(NAME, fields) if fields else NOTHING,
            )
        )

    def _choice(self, item: dict[str, Json], position: int) -> None:
        index = item.get("index")
        if not isinstance(index, int):
            index = position
        parts = self._parts
        choice = parts.choices.get(index) or parts.choice(index)
        text = item.get("text")
        if isinstance(text, str) and text:
            if choice.kind is PartKind.TEXT:
                parts.out.append(TextDelta(text, choice.part, index))
            else:
                parts.text(choice, text)
        if item.get("logprobs"):
            parts.note(choice, NoteKind.LOGPROBS, item["logprobs"])
        finish = item.get("finish_reason")
        if finish:
            choice.raw = finish if isinstance(finish, str) else "stop"
            _keep(choice, item)

    def finish(self) -> None:
        self._parts.out = self.out
        self.done = True
        self._parts.end(self._usage)

    def close(self) -> None:
        choices = self._parts.choices
        if not choices or not all(choice.raw for choice in choices.values()):
            raise bad(ENDED_EARLY)
        self.finish()

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)


def _keep(choice: Choice, item: Mapping[str, Json]) -> None:
    """What the choice says beside its text, once it is over."""
    for name, value in item.items():
        if name not in _CHOICE and value is not None:
            choice.extra[name] = value


_TOP = frozenset({"id", "model", "created", "object", "choices", "usage", "obfuscation"})
_CHOICE = frozenset({"index", "text", "finish_reason", "logprobs"})
