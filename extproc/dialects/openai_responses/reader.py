"""OpenAI Responses replies to events: the items of a whole one, and a stream's events.

Each content part of a message, each item of reasoning and each call of the
client's tools is a part of the reply. All other items are opaque parts that
hold the item, and notes with its events. A stream that skips its deltas, or
its item events, is read from what its later events repeat. `frame` raises what
`_decoding.Reader` may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extproc.codec.sse import Frame
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import TooMuch, read_object
from extproc.dialects._tools import minted_id
from extproc.dialects.openai_chat.errors import stream_error
from extproc.dialects.openai_responses.errors import failed_error
from extproc.dialects.openai_responses.open_items import Opened, ReadCall, ReadItem, new_item
from extproc.dialects.openai_responses.words import COMPLETED, NAME, read_ending, read_usage
from extproc.model.chat import Extra, Json
from extproc.model.reply import ChoiceEnded, Event, Finished, Started, Usage, Used

MAX_ITEMS = 1024
_TERMINALS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_NAMED = frozenset(
    {
        "id",
        "model",
        "created_at",
        "object",
        "output",
        "status",
        "usage",
        "error",
        "incomplete_details",
    }
)
"""members of a response that events have words for"""


class Reader:
    """Reads one reply. See `_decoding.Reader`; `renamed` are the client's names of tools."""

    __slots__ = ("_items", "_opened", "_said", "_started", "_usage", "done", "out")

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.out: list[Event] = []
        self.done = False
        self._opened = Opened(renamed)
        self._items: dict[int, ReadItem | None] = {}
        self._said: Mapping[str, Json] = {}
        self._started = False
        self._usage: Usage | None = None

    # --- streams

    def frame(self, frame: Frame) -> bool:
        data = frame.data
        if data is None or data.startswith(b"[DONE]"):
            return True
        value = read_object(data)
        kind = value.get("type")
        if not isinstance(kind, str):
            kind = frame.event.decode("utf-8", "replace")
        if kind == "error" or (value.get("error") and not kind.startswith("response.")):
            raise stream_error(value)
        index = value.get("output_index")
        if isinstance(index, int):
            self._item_event(kind, index, value)
        elif kind in _TERMINALS:
            self._terminal(value.get("response"))
        elif not self._started:
            response = value.get("response")
            if isinstance(response, dict):
                self.start(response)
        return True

    def close(self) -> None:
        raise decoding.bad(decoding.ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)

    def _item_event(self, kind: str, index: int, value: dict[str, Json]) -> None:
        item = self._items.get(index)
        if item is not None:
            if kind == "response.output_item.done":
                self._done(index, item, value.get("item"))
            elif kind != "response.output_item.added":
                item.event(kind, value, self.out)
        elif index not in self._items:
            shape = value.get("item")
            if isinstance(shape, dict):
                item = self._add(index, shape)
                if kind == "response.output_item.done":
                    self._done(index, item, shape)

    def _terminal(self, response: Json) -> None:
        if not isinstance(response, dict):
            raise decoding.bad("the provider's stream ended without a response")
        if not self._started:
            self.start(response)
        usage = response.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage)
        if response.get("status") == "failed":
            raise failed_error(response)
        output = response.get("output")
        self.end(response, output if isinstance(output, list) else [])

    # --- the reply

    def start(self, response: Mapping[str, Json]) -> None:
        self._started = True
        self._said = response
        created = response.get("created_at")
        fields = {name: item for name, item in response.items() if name not in _NAMED}
        self.out.append(
            Started(
                id=_text(response.get("id")),
                model=_text(response.get("model")),
                created=int(created) if isinstance(created, int | float) else None,
                extra=Extra(NAME, fields),
            )
        )

    def end(self, response: Mapping[str, Json], output: list[Json]) -> None:
        """Reads items that no event told of, closes what is open, and says how the reply ended."""
        for index, shape in enumerate(output):
            item = self._items.get(index)
            if index not in self._items and isinstance(shape, dict):
                item = self._add(index, shape)
            if item is not None:
                self._done(index, item, shape)
        for index, item in self._items.items():
            if item is not None:
                self._done(index, item, None)
        reason, raw = read_ending(response, self._opened.saw_call)
        changed: dict[str, Json] = {
            name: value
            for name, value in response.items()
            if name not in _NAMED and self._said.get(name) != value
        }
        changed["status"] = response.get("status") or COMPLETED
        if response.get("incomplete_details") is not None:
            changed["incomplete_details"] = response["incomplete_details"]
        self.out.append(ChoiceEnded(reason, raw=raw, extra=Extra(NAME, changed)))
        if self._usage is not None:
            self.out.append(Used(self._usage))
        self.out.append(Finished())
        self.done = True

    def whole(self, response: dict[str, Json]) -> None:
        """All of a reply that came whole."""
        self._terminal(response)

    def _add(self, index: int, shape: dict[str, Json]) -> ReadItem:
        if len(self._items) >= MAX_ITEMS or index < 0:
            raise TooMuch
        if not self._started:
            self.start({})
        item = new_item(self._opened, shape)
        if isinstance(item, ReadCall) and not item.id:
            item.id = minted_id(self._said.get("id"), index)
        self._items[index] = item
        item.begin(self.out)
        return item

    def _done(self, index: int, item: ReadItem, shape: Json) -> None:
        item.end(shape if isinstance(shape, dict) else None, self.out)
        self._items[index] = None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
