"""A conversation for languages in which user and assistant take turns.

`turns` takes the canonical messages and gives the system texts apart and a list
of turns in which no role follows itself, results of tools are the user's and
stand first, and no turn is empty. System text in the middle is folded into the
next user turn, or kept where the target has such a role.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from extproc.dialects._loss import Losses
from extproc.model.chat import NOTHING, Chat, Message, Part, Role, Text, ToolResult
from extproc.model.fields import Field
from extproc.model.value import value

FOLDED = Field.SYSTEM


class Speaker(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


@dataclass(slots=True)
class Turn:
    """`parts` is never empty; of a user's turn, tool results come first."""

    speaker: Speaker
    parts: list[Part] = field(default_factory=list[Part])


@value
class Turns:
    """`system` are the leading system texts, in order, with their cache marks."""

    system: tuple[Text, ...]
    turns: tuple[Turn, ...]


def turns(
    chat: Chat,
    losses: Losses,
    *,
    system_within: bool = False,
    messages: Sequence[Message] | None = None,
) -> Turns:
    """`system_within`: the target takes system turns in the middle. `messages`: instead of the chat's.

    Blank texts are dropped. The first turn may be the assistant's: a target
    that cannot have that adds its own.
    """
    system: list[Text] = []
    found: list[Turn] = []
    folded: list[Part] = []
    for message in chat.messages if messages is None else messages:
        role = message.role
        parts: list[Part] = []
        for part in message.parts:
            if not isinstance(part, Text) or (part.text and not part.text.isspace()):
                parts.append(part)  # noqa: PERF401 - a comprehension costs more for one part
        if role in _SYSTEM:
            if not found and not folded:
                system.extend(_texts(parts))
            elif system_within:
                _add(found, _WITHIN, parts)
            else:
                losses.drop(FOLDED)
                folded.extend(_marked(parts))
            continue
        speaker = _ASSISTANT if role is _MODEL else _USER
        if folded:
            if speaker is _ASSISTANT:
                _add(found, _USER, folded)
            else:
                results, rest = _apart(message, parts)
                parts = [*results, *folded, *rest]
            folded = []
        if parts and found and found[-1].speaker is not speaker:
            found.append(Turn(speaker, parts))  # as `_add` would, in most cases
        else:
            _add(found, speaker, parts)
    _add(found, _USER, folded)
    for turn in found:
        if len(turn.parts) > 1 and turn.speaker is _USER:
            turn.parts.sort(key=_results_first)
    return Turns(tuple(system), tuple(found))


# An enum's member costs more to look up than all else that is asked of a message.
_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})
_MODEL = Role.ASSISTANT
_USER, _ASSISTANT, _WITHIN = Speaker.USER, Speaker.ASSISTANT, Speaker.SYSTEM


def _add(found: list[Turn], speaker: Speaker, parts: list[Part]) -> None:
    """To the last turn if it is the same speaker's, else as a new one."""
    if not parts:
        return
    if found and found[-1].speaker is speaker:
        found[-1].parts.extend(parts)
    else:
        found.append(Turn(speaker, parts))


def _apart(message: Message, parts: list[Part]) -> tuple[list[Part], list[Part]]:
    results: list[Part] = [part for part in parts if isinstance(part, ToolResult)]
    if not results or message.role not in (Role.USER, Role.TOOL):
        return [], parts
    return results, [part for part in parts if not isinstance(part, ToolResult)]


def _results_first(part: Part) -> bool:
    return not isinstance(part, ToolResult)


def only_text(parts: Sequence[Part]) -> str | None:
    """The text, if that is all there is, as in most messages: one part, not marked, nothing beside it."""
    if len(parts) != 1:
        return None
    part = parts[0]
    if isinstance(part, Text) and part.cache is None and part.extra is NOTHING:
        return part.text
    return None


def _texts(parts: Iterable[Part]) -> list[Text]:
    return [part for part in parts if isinstance(part, Text)]


def _marked(parts: Iterable[Part]) -> list[Part]:
    return [
        Text(f"<system>\n{part.text}\n</system>", part.cache) if isinstance(part, Text) else part
        for part in parts
    ]
