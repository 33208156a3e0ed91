"""A reply's events as the parts of Gemini's contents, one after the other.

What the language has in one piece (calls, pictures) is held until it is whole. A
signature without text waits for the call that follows. Notes and extras of
other dialects stay away, but for signatures, which travel wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from extproc.codec import jsontext
from extproc.dialects import _likelihood
from extproc.dialects._extras import fill
from extproc.dialects._parts import in_words
from extproc.dialects.gemini_generate.words import FORM, MALFORMED, NAME, pack, word_of
from extproc.model.chat import Json
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    MediaDelta,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
)


def own(note: Note) -> Note:
    """A note in this language's shape, where another tells the same."""

    def write(tokens: list[_likelihood.Token]) -> Json:
        chosen: list[Json] = [_candidate(token) for token in tokens]
        tops: list[Json] = []
        for token in tokens:
            listed = token["top_logprobs"]
            others = listed if isinstance(listed, list) else []
            likely: list[Json] = [_candidate(one) for one in others if isinstance(one, dict)]
            tops.append({"candidates": likely})
        return {"chosenCandidates": chosen, "topCandidates": tops}

    return _likelihood.own(note, NAME, write)


def _candidate(token: _likelihood.Token) -> Json:
    return {"token": token["token"], "logProbability": token["logprob"]}


CANDIDATE = {NoteKind.LOGPROBS: "logprobsResult", NoteKind.CITATION: "citationMetadata"}
"""members of a candidate that come as notes"""


@dataclass(slots=True)
class _Open:
    """A part that has started. `media_type` is that of the first piece."""

    start: PartStarted
    pieces: list[str] = field(default_factory=list[str])
    media_type: str | None = None
    said: bool = False


class Flat:
    """`feed` gives what can be said now: `(choice, part)`, where a part is a wire part."""

    __slots__ = ("_broken", "_open", "_refused", "_signatures")

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Open] = {}
        self._signatures: dict[int, str] = {}
        self._broken: dict[int, str] = {}
        self._refused: set[int] = set()

    def holds(self, choice: int) -> bool:
        """Whether a signature waits, so that a text may not go out before it."""
        return choice in self._signatures

    def feed(self, event: Event) -> Iterator[tuple[int, dict[str, Json]]]:
        match event:
            case TextDelta() if event.text:
                yield from self._unsigned(event.choice)
                yield event.choice, {"text": event.text}
            case ThinkingDelta() if event.text:
                yield from self._unsigned(event.choice)
                self._open[event.choice, event.part].said = True
                yield event.choice, {"text": event.text, "thought": True}
            case PartStarted():
                self._open[event.choice, event.part] = _Open(event)
                if event.kind is PartKind.REFUSAL:
                    self._refused.add(event.choice)
            case ToolDelta():
                self._open[event.choice, event.part].pieces.append(event.arguments)
            case MediaDelta():
                part = self._open[event.choice, event.part]
                part.pieces.append(event.data)
                part.media_type = part.media_type or event.media_type
            case Note():
                yield from self._note(event)
            case PartEnded():
                yield from self._ended(self._open.pop((event.choice, event.part)))
            case ChoiceEnded():
                yield from self._unsigned(event.choice)
            case _:
                pass

    def finish(self, event: ChoiceEnded) -> dict[str, Json]:
        """The members of a candidate that say why it ended."""
        if event.choice in self._refused:
            event = in_words(event)
        at_home = event.extra.dialect == NAME
        out: dict[str, Json] = {"finishReason": word_of(event.reason, event.raw, at_home)}
        name = self._broken.get(event.choice)
        if name is not None:
            out["finishReason"] = MALFORMED
            out["finishMessage"] = f"Malformed function call: {name}"
        fill(out, {k: v for k, v in event.extra.home(NAME).items() if k != "promptFeedback"})
        return out

    def _unsigned(self, choice: int) -> Iterator[tuple[int, dict[str, Json]]]:
        """A signature that no call took stands on a text of its own."""
        signature = self._signatures.pop(choice, None)
        if signature is not None:
            yield choice, {"text": "", "thoughtSignature": signature}

    def _note(self, note: Note) -> Iterator[tuple[int, dict[str, Json]]]:
        part = self._open.get((note.choice, note.part))
        if part is None:
            return
        if note.kind in (NoteKind.SIGNATURE, NoteKind.REDACTED):
            if isinstance(note.value, str):
                yield from self._sign(note, part, note.value)
        elif note.dialect == NAME and note.kind is NoteKind.EXTRA and isinstance(note.value, dict):
            yield from self._unsigned(note.choice)
            yield note.choice, note.value

    def _sign(self, note: Note, part: _Open, value: str) -> Iterator[tuple[int, dict[str, Json]]]:
        choice = note.choice
        yield from self._unsigned(choice)
        if note.dialect != NAME:
            redacted = note.kind is NoteKind.REDACTED
            packed = pack(value, note.dialect, redacted=redacted)
            yield choice, {"text": "", "thought": True, "thoughtSignature": packed}
        elif part.start.kind is not PartKind.THINKING:
            return
        elif part.said:
            yield choice, {"text": "", "thought": True, "thoughtSignature": value}
        elif part.start.extra.home(NAME).get(FORM) == "own":
            yield choice, {"text": "", "thoughtSignature": value}
        else:
            self._signatures[choice] = value

    def _ended(self, part: _Open) -> Iterator[tuple[int, dict[str, Json]]]:
        choice = part.start.choice
        written: dict[str, Json] | None
        match part.start.kind:
            case PartKind.TOOL:
                written = self._call(part)
            case PartKind.MEDIA if any(part.pieces):
                kind = part.media_type or "application/octet-stream"
                written = {"inlineData": {"mimeType": kind, "data": "".join(part.pieces)}}
            case _:
                return
        if written is None:
            return
        signature = self._signatures.pop(choice, None)
        if signature is not None:
            written["thoughtSignature"] = signature
        yield choice, written

    def _call(self, part: _Open) -> dict[str, Json] | None:
        """None where the arguments are no object: the choice ends as Google's own do then."""
        start = part.start
        text = "".join(part.pieces)
        try:
            args = jsontext.loads(text.encode("utf-8", "surrogatepass")) if text.strip() else {}
        except jsontext.BadJson:
            args = None
        if not isinstance(args, dict):
            self._broken[start.choice] = start.name
            return None
        call: dict[str, Json] = {"name": start.name, "args": args}
        if start.id:
            call["id"] = start.id
        out: dict[str, Json] = {"functionCall": call}
        fill(out, start.extra.home(NAME))
        return out
