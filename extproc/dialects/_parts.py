"""The parts of a reply whose language has none: flat deltas in, well-formed events out.

Where text, reasoning and tool calls of several choices come side by side,
`Parts` opens and closes parts as our grammar wants them, and holds what must
not go out yet (a tool call whose name has not come, finish reasons until the
end). It knows no wire names: a dialect's reader calls it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from extproc.dialects._decoding import TooMuch
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

MAX_CHOICES = 128
MAX_PARTS = 1024
MAX_HELD = 16 * 1024 * 1024
"""bytes of arguments that wait for the name of their tool"""


def in_words(ended: ChoiceEnded) -> ChoiceEnded:
    """The end of a choice whose text is a refusal, for a language that says so by the reason alone."""
    if ended.reason is not Reason.STOP:
        return ended
    return replace(ended, reason=Reason.REFUSAL, raw=None)


class _Tool:
    """A tool call of one choice. `part` is -1 until its name is known and it has started."""

    __slots__ = ("extra", "held", "id", "name", "part")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.part = -1
        self.held: list[str] = []
        self.extra: dict[str, Json] = {}


class Choice:
    """What is open in one choice. `kind` None: nothing is; `last` is where notes go, -1: nowhere."""

    __slots__ = (
        "by_index",
        "called",
        "extra",
        "index",
        "kind",
        "last",
        "opened",
        "part",
        "parts",
        "raw",
        "stop",
        "tools",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts = 0
        self.kind: PartKind | None = None
        self.part = 0
        self.last = -1
        self.opened = NOTHING
        self.called = False
        self.tools: list[_Tool] = []
        self.by_index: dict[int, _Tool] = {}
        self.raw: str | None = None
        self.stop: str | None = None
        self.extra: dict[str, Json] = {}


class Parts:
    """Assembles one reply of a provider that speaks `dialect`. Every method appends to `out`.

    `reason` gives the canonical reason for the provider's word, and whether a
    tool was called. Raises `TooMuch` when there is more than we hold.
    """

    __slots__ = ("_dialect", "_held", "_reason", "_reply_id", "choices", "out")

    def __init__(self, dialect: str, reason: Callable[[str | None, bool], Reason]) -> None:
        self._dialect = dialect
        self._reason = reason
        self.choices: dict[int, Choice] = {}
        self.out: list[Event] = []
        self._reply_id = ""
        self._held = 0

    def take(self) -> list[Event]:
        out, self.out = self.out, []
        return out

    def started(self, event: Started) -> None:
        self._reply_id = event.id
        self.out.append(event)

    def choice(self, index: int) -> Choice:
        choice = self.choices.get(index)
        if choice is None:
            if len(self.choices) >= MAX_CHOICES or index < 0:
                raise TooMuch
            choice = self.choices[index] = Choice(index)
        return choice

    # --- text of any kind

    def text(self, choice: Choice, text: str) -> None:
        if choice.kind is not PartKind.TEXT:
            self._open(choice, PartKind.TEXT)
        self.out.append(TextDelta(text, choice.part, choice.index))

    def refusal(self, choice: Choice, text: str) -> None:
        if choice.kind is not PartKind.REFUSAL:
            self._open(choice, PartKind.REFUSAL)
        self.out.append(TextDelta(text, choice.part, choice.index))

    def thinking(self, choice: Choice, text: str, extra: Extra = NOTHING) -> None:
        if choice.kind is not PartKind.THINKING or choice.opened != extra:
            self._open(choice, PartKind.THINKING, extra)
        self.out.append(ThinkingDelta(text, choice.part, choice.index))

    def media(self, choice: Choice, data: str, media_type: str | None) -> None:
        self.media_part(choice)
        self.out.append(MediaDelta(data, media_type, choice.part, choice.index))

    def media_part(self, choice: Choice) -> None:
        if choice.kind is not PartKind.MEDIA:
            self._open(choice, PartKind.MEDIA)

    def note(self, choice: Choice, kind: NoteKind, value: Json) -> None:
        """Belongs to the part that was touched last; if that has ended, to one that holds nothing else."""
        if choice.last < 0:
            self._open(choice, PartKind.OPAQUE)
        self.out.append(Note(kind, value, choice.last, choice.index, self._dialect))

    # --- what comes in one piece

    def open_thought(self, choice: Choice, extra: Extra = NOTHING) -> None:
        """A new part for reasoning, also where one is open."""
        self._open(choice, PartKind.THINKING, extra)

    def end_part(self, choice: Choice) -> None:
        """Ends the part that is open, so that what follows cannot join it. Calls in pieces stay open."""
        self._close(choice)

    def whole_tool(
        self, choice: Choice, call_id: str, name: str, arguments: str, extra: Extra = NOTHING
    ) -> None:
        """A call that is complete: its part starts and ends here. An empty id is minted."""
        self._close(choice)
        choice.called = True
        choice.last = -1
        part = self._next(choice)
        call_id = call_id or self._minted(choice, part)
        self.out.append(PartStarted(PartKind.TOOL, part, choice.index, call_id, name, extra))
        if arguments:
            self.out.append(ToolDelta(arguments, part, choice.index))
        self.out.append(PartEnded(part, choice.index))

    def opaque(self, choice: Choice, kind: NoteKind, value: Json) -> None:
        """A part of its own for what only this dialect knows."""
        self._open(choice, PartKind.OPAQUE)
        self.out.append(Note(kind, value, choice.part, choice.index, self._dialect))
        self._close(choice)

    def _open(self, choice: Choice, kind: PartKind, extra: Extra = NOTHING) -> None:
        self._close(choice)
        choice.kind = kind
        choice.opened = extra
        choice.part = choice.last = self._next(choice)
        self.out.append(PartStarted(kind, choice.part, choice.index, extra=extra))

    def _close(self, choice: Choice) -> None:
        if choice.kind is not None:
            self.out.append(PartEnded(choice.part, choice.index))
            choice.kind = None
            if choice.last == choice.part:
                choice.last = -1

    def _next(self, choice: Choice) -> int:
        if choice.parts >= MAX_PARTS:
            raise TooMuch
        choice.parts += 1
        return choice.parts - 1

    # --- tools

    def tool(
        self,
        choice: Choice,
        index: int | None,
        call_id: str,
        name: str,
        arguments: str,
        extra: dict[str, Json],
    ) -> None:
        """A piece of a tool call; `index`, `call_id`, `name`, `arguments` are empty where not said."""
        tool = self._which(choice, index, call_id)
        if tool.part < 0:
            tool.extra = tool.extra or extra
            tool.name = tool.name or name
            tool.id = tool.id or call_id
            if tool.name:
                self._start(choice, tool)
        if not arguments:
            return
        if tool.part < 0:
            self._held += len(arguments)
            if self._held > MAX_HELD:
                raise TooMuch
            tool.held.append(arguments)
            return
        choice.last = tool.part
        self.out.append(ToolDelta(arguments, tool.part, choice.index))

    def _which(self, choice: Choice, index: int | None, call_id: str) -> _Tool:
        """A known id or index continues its call, nothing at all the last one; a new id is a new call."""
        tools = choice.tools
        known = choice.by_index.get(index) if index is not None else None
        if call_id:
            if known is not None and known.id in ("", call_id):
                return known
            for tool in reversed(tools):
                if tool.id == call_id:
                    _remember(choice, index, tool)
                    return tool
        elif known is not None:
            return known
        elif index is None and tools:
            return tools[-1]
        if len(tools) >= MAX_PARTS:
            raise TooMuch
        tool = _Tool(call_id)
        tools.append(tool)
        _remember(choice, index, tool)
        return tool

    def _start(self, choice: Choice, tool: _Tool) -> None:
        self._close(choice)
        tool.part = choice.last = self._next(choice)
        if not tool.id:
            tool.id = self._minted(choice, tool.part)
        extra = Extra(self._dialect, tool.extra) if tool.extra else NOTHING
        self.out.append(
            PartStarted(PartKind.TOOL, tool.part, choice.index, tool.id, tool.name, extra)
        )
        for piece in tool.held:
            self._held -= len(piece)
            self.out.append(ToolDelta(piece, tool.part, choice.index))
        tool.held.clear()

    def _minted(self, choice: Choice, part: int) -> str:
        seed = f"{self._reply_id}/{choice.index}/{part}"
        return "call_" + hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:24]

    # --- the end

    def end(self, usage: Usage | None) -> None:
        """Closes all that is open, and says how each choice ended."""
        choices = sorted(self.choices.values(), key=_index)
        for choice in choices:
            self._close(choice)
            for tool in choice.tools:
                if tool.part < 0:
                    self._start(choice, tool)
            for tool in sorted(choice.tools, key=_part):
                self.out.append(PartEnded(tool.part, choice.index))
        for choice in choices:
            self.out.append(self._ended(choice))
        if usage is not None:
            self.out.append(Used(usage))
        self.out.append(Finished())

    def _ended(self, choice: Choice) -> ChoiceEnded:
        reason = self._reason(choice.raw, choice.called or bool(choice.tools))
        extra = Extra(self._dialect, choice.extra)
        return ChoiceEnded(reason, choice.index, choice.raw, choice.stop, extra)


def _remember(choice: Choice, index: int | None, tool: _Tool) -> None:
    if index is not None:
        if len(choice.by_index) >= MAX_PARTS:
            raise TooMuch
        choice.by_index[index] = tool


def _index(choice: Choice) -> int:
    return choice.index


def _part(tool: _Tool) -> int:
    return tool.part
