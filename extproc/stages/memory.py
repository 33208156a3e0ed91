"""Remembers conversations: earlier turns of the same caller are put before what is asked now.

A request that names a conversation (`conversation_id` of `/chat`, `x-sluice-conversation` in
every language) sends only what is new. The texts of its user's messages and of the reply's first
choice are kept as one turn when the reply has ended well; thoughts, media and tools are not.
Turns that cannot be read are a refusal: an answer without them would look right, and be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import msgspec

from extproc.config.shapes import Block, Choice, Duration, Either, Field, Number, Size
from extproc.model.call import Call
from extproc.model.chat import Chat, Message, Role, Text, ToolResult
from extproc.model.embed import Count
from extproc.model.errors import InvalidRequest
from extproc.model.ports import Bounds, Conversations, Ports, Turn
from extproc.model.reply import Event, Finished, TextDelta
from extproc.model.stage import OnWish, Stage

OFF = "off"
BLOCK = Field(
    Either(
        Choice((OFF,)),
        Block(
            {
                "ttl": Field(Duration(high=30 * 86400.0), "how long after its last turn", "1h"),
                "turns": Field(Number(1, 1000), "turns of a conversation", "20"),
                "bytes": Field(
                    Size(1, 1 << 24),
                    "text of a conversation; what is longer than that is not remembered",
                    "64KiB",
                ),
                "conversations": Field(Number(1, 1_000_000), "conversations of a caller", "1000"),
            }
        ),
    ),
    "conversations that are remembered, as plain text in the data folder; the oldest go first",
    "on",
)

_SYSTEM = (Role.SYSTEM, Role.DEVELOPER)


class _Settings(msgspec.Struct, frozen=True):
    ttl: float = 3600.0
    turns: int = 20
    bytes: int = 64 << 10
    conversations: int = 1000


class Memory(Stage):
    """`watches` only replies to a turn of a conversation."""

    READS_REQUESTS = False
    DEFAULT: ClassVar[object] = {}
    watches = False

    def __init__(self, kept: Conversations, within: Bounds) -> None:
        self._kept = kept
        self._within = within

    @classmethod
    def prepare(cls, block: object, ports: Ports) -> OnWish | None:
        if block == OFF:
            return None
        wanted = msgspec.convert(block, _Settings)
        bounds = Bounds(wanted.ttl, wanted.turns, wanted.bytes, wanted.conversations)
        ports.conversations.open()
        return OnWish(partial(cls, ports.conversations, bounds))

    async def on_request(self, call: Call) -> Call:
        request = call.request
        chat = request.chat if isinstance(request, Count) else request
        if not isinstance(chat, Chat) or chat.options.conversation is None:
            return call
        name = chat.options.conversation
        earlier = self._kept.turns(call.caller.name, name, self._within)
        whole = _continued(chat, earlier)
        if isinstance(request, Count):
            return replace(call, request=Count(whole))
        self._caller, self._conversation = call.caller.name, name
        self._asked = _text_of_user(chat)
        self._said: list[str] = []
        self._size = 0
        # A copy gets the same turns, and leaves none.
        self.watches = not call.shadow and bool(self._asked.strip())
        return replace(call, request=whole)

    def on_seen(self, event: Event) -> None:
        match event:
            case TextDelta() if event.choice == 0 and self._size <= self._within.bytes:
                # Once it is too long it is not kept, so no more of it is held.
                self._size += len(event.text)
                self._said.append(event.text)
            case Finished():
                said = "".join(self._said)
                if said.strip():
                    turn = Turn(self._asked, said)
                    self._kept.add(self._caller, self._conversation, turn, self._within)
            case _:
                pass


def _continued(chat: Chat, earlier: Sequence[Turn]) -> Chat:
    """The chat with the turns behind its leading system text. Its conversation is taken."""
    options = replace(chat.options, conversation=None)
    for message in chat.messages:
        if message.role in (Role.ASSISTANT, Role.TOOL) or _has_result(message):
            raise InvalidRequest(
                "The gateway remembers this conversation: send only what is new, without the"
                " assistant's earlier messages and without results of tools.",
                param="messages",
                code="conversation_repeated",
            )
    if not earlier:
        return replace(chat, options=options)
    own = chat.messages
    start = next((i for i, m in enumerate(own) if m.role not in _SYSTEM), len(own))
    said = (
        message
        for turn in earlier
        for message in (
            Message(Role.USER, (Text(turn.asked),)),
            Message(Role.ASSISTANT, (Text(turn.answered),)),
        )
    )
    messages = (*own[:start], *said, *own[start:])
    return replace(chat, options=options, messages=messages, raw=b"")


def _has_result(message: Message) -> bool:
    return any(isinstance(part, ToolResult) for part in message.parts)


def _text_of_user(chat: Chat) -> str:
    return "\n\n".join(
        part.text
        for message in chat.messages
        if message.role is Role.USER
        for part in message.parts
        if isinstance(part, Text)
    )


STAGE = Memory
