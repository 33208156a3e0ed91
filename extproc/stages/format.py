"""Plain text on request: the lines that fence code in Markdown are taken out of replies.

For requests that say `x-sluice-format: plain`, or for all, as the block says. What stands between
the fences stays as it is, and so does all other Markdown. Fences are CommonMark's (section 4.5):
three or more backticks or tildes, at most three blanks before them. A line is held back only as
long as it may still be a fence, so a stream stays one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, cast

from extproc.config.shapes import Block, Choice, Field
from extproc.model.call import Call
from extproc.model.chat import Chat
from extproc.model.ports import Ports
from extproc.model.reply import Event, PartEnded, PartKind, PartStarted, TextDelta
from extproc.model.stage import OnWish, Stage

ASKED, ALWAYS, NEVER = "asked", "always", "never"
BLOCK = Field(
    Block(
        {
            "plain": Field(
                Choice((ASKED, ALWAYS, NEVER)),
                "when the fences of Markdown's code are taken out: for requests that say"
                " `x-sluice-format: plain`, for all, or for none",
                ASKED,
            )
        }
    ),
    "the form of the text in replies",
)
_LONGEST = 200
"""characters of a line that may be a fence"""
_MAY_OPEN = re.compile(r" {0,3}(?:`{0,2}|`{3,}[^`]*|~{0,2}|~{3,}.*)", re.S)
_OPENS = re.compile(r" {0,3}(`{3,}|~{3,})")
_MAY_CLOSE = {kind: re.compile(rf" {{0,3}}{kind}*[ \t\r]*") for kind in "`~"}


class Fences:
    """One text, piece by piece. `feed` and `end` give what is left of it; where it was cut says nothing."""

    __slots__ = ("_fence", "_held", "_passes")

    def __init__(self) -> None:
        self._fence = ""
        """the one that is open"""
        self._held = ""
        self._passes = False
        """the line is no fence, whatever comes"""

    def feed(self, text: str) -> str:
        out: list[str] = []
        *lines, rest = text.split("\n")
        for line in lines:
            whole = self._held + line
            if self._passes or not self._is_fence(whole):
                out += (whole, "\n")
            self._held, self._passes = "", False
        self._held += rest
        if self._passes or not self._may_be(self._held):
            out.append(self._held)
            self._held, self._passes = "", bool(self._passes or rest)
        return "".join(out)

    def end(self) -> str:
        held, self._held = self._held, ""
        return "" if self._is_fence(held) else held

    def _may_be(self, line: str) -> bool:
        if len(line) > _LONGEST:
            return False
        possible = _MAY_CLOSE[self._fence[0]] if self._fence else _MAY_OPEN
        return possible.fullmatch(line) is not None

    def _is_fence(self, line: str) -> bool:
        """Whether a whole line is one; then it opens or closes."""
        found = _OPENS.match(line)
        if found is None or not self._may_be(line):
            return False
        if not self._fence:
            self._fence = found[1]
            return True
        if found[1].startswith(self._fence):
            self._fence = ""
            return True
        return False


class Format(Stage):
    """`watches` only replies that shall be plain. Text alone is changed: no refusal, no thought."""

    READS_REQUESTS = False
    DEFAULT: ClassVar[object] = {}
    watches = False

    def __init__(self, always: bool) -> None:
        self._always = always
        self._open: dict[tuple[int, int], Fences] = {}

    @classmethod
    def prepare(cls, block: object, ports: Ports) -> Callable[[], Stage] | OnWish | None:
        del ports
        when = cast("dict[str, str]", block).get("plain", ASKED)
        if when == NEVER:
            return None
        return partial(cls, True) if when == ALWAYS else OnWish(partial(cls, False))

    async def on_request(self, call: Call) -> Call:
        chat = call.request
        if not isinstance(chat, Chat):
            return call
        if chat.options.format is None:
            self.watches = self._always
            return call
        self.watches = True
        return replace(call, request=replace(chat, options=replace(chat.options, format=None)))

    def on_event(self, event: Event) -> Sequence[Event]:
        match event:
            case PartStarted(kind=PartKind.TEXT):
                self._open[event.choice, event.part] = Fences()
            case TextDelta():
                fences = self._open.get((event.choice, event.part))
                if fences:
                    text = fences.feed(event.text)
                    return (replace(event, text=text),) if text else ()
            case PartEnded():
                fences = self._open.pop((event.choice, event.part), None)
                rest = fences.end() if fences else ""
                if rest:
                    return (TextDelta(rest, event.part, event.choice), event)
            case _:
                pass
        return (event,)


STAGE = Format
