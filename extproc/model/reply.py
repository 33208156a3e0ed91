"""A reply is always a sequence of events, whether it came whole or streamed.

    Started (PartStarted (TextDelta | ThinkingDelta | ToolDelta | MediaDelta | Note)* PartEnded)*
            ChoiceEnded* Used* Finished
    Started Vector* | Ranked* | Counted | OpaqueChunk* Used? Finished
    ... Failed                        at any place, and then nothing more

Parts of one choice carry their index within it, from 0, in order of
appearance; several parts and choices may be open at once. Decoders make these
events, encoders write them, stages may look and change them. Never any bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TypeAlias

from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.errors import GatewayError
from extproc.model.value import value


class PartKind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    TOOL = "tool"
    MEDIA = "media"
    REFUSAL = "refusal"
    OPAQUE = "opaque"


class Reason(StrEnum):
    """Why a choice ended. OTHER keeps the provider's word in `ChoiceEnded.raw`."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    CONTEXT = "context"
    TOOL = "tool"
    FILTER = "filter"
    REFUSAL = "refusal"
    PAUSED = "paused"
    OTHER = "other"


@value
class Units:
    """What is billed by something else than tokens, as the provider counted it or the request says.

    `search_units` are of rankings, `audio_seconds` of sound that was heard, `characters` of
    text that was spoken, `images` of pictures that were made or read.
    """

    search_units: float = 0.0
    audio_seconds: float = 0.0
    characters: int = 0
    images: int = 0

    def told(self) -> Iterator[tuple[str, float]]:
        """Those that are not 0, by name."""
        for name in _UNITS:
            number = getattr(self, name)
            if number:
                yield name, number

    def __add__(self, other: Units) -> Units:
        return Units(
            self.search_units + other.search_units,
            self.audio_seconds + other.audio_seconds,
            self.characters + other.characters,
            self.images + other.images,
        )


_UNITS = ("search_units", "audio_seconds", "characters", "images")
NO_UNITS = Units()


@value
class Usage:
    """Tokens, normalised once; every provider's own arithmetic is undone before this.

    The prompt is `fresh + cache_read + cache_write`. `output` is all that was
    generated, `reasoning` the part of it that was thinking. `cache_write` is
    split by how long it lives where the provider says: `cache_write_1h` is the
    part of it kept for an hour. `total` is the provider's own sum, if it gave
    one. `estimated` marks numbers that the provider did not report. `units` are
    what is billed beside tokens.
    """

    fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    total: int | None = None
    estimated: bool = False
    extra: Extra = NOTHING
    units: Units = NO_UNITS

    @property
    def prompt(self) -> int:
        return self.fresh + self.cache_read + self.cache_write


@value
class Started:
    """The provider began to answer. `id` and `model` are the provider's; `created` is unix seconds."""

    id: str
    model: str
    created: int | None = None
    extra: Extra = NOTHING


@value
class PartStarted:
    """`id` and `name` are a tool call's, else empty."""

    kind: PartKind
    part: int = 0
    choice: int = 0
    id: str = ""
    name: str = ""
    extra: Extra = NOTHING


@value
class TextDelta:
    """Also the words of a refusal, in a part of kind REFUSAL."""

    text: str
    part: int = 0
    choice: int = 0


@value
class ThinkingDelta:
    text: str
    part: int = 0
    choice: int = 0


@value
class ToolDelta:
    """A piece of a tool call's arguments: JSON text, cut anywhere."""

    arguments: str
    part: int = 0
    choice: int = 0


@value
class MediaDelta:
    """A piece of audio or an image, as base64 text."""

    data: str
    media_type: str | None = None
    part: int = 0
    choice: int = 0


class NoteKind(StrEnum):
    SIGNATURE = "signature"
    REDACTED = "redacted"
    CITATION = "citation"
    LOGPROBS = "logprobs"
    EXTRA = "extra"


@value
class Note:
    """What belongs to a part but is not its text."""

    kind: NoteKind
    value: Json
    part: int = 0
    choice: int = 0
    dialect: str = ""


@value
class PartEnded:
    part: int = 0
    choice: int = 0


@value
class ChoiceEnded:
    """`raw` is the provider's own word; `stop` the stop sequence that hit, if it says."""

    reason: Reason
    choice: int = 0
    raw: str | None = None
    stop: str | None = None
    extra: Extra = NOTHING


@value
class Used:
    """Totals so far, not increments: the last one counts."""

    usage: Usage


@value
class Finished:
    """The reply is whole. Nothing follows."""


@value
class Failed:
    """The reply broke off, or was an error from the start. Nothing follows."""

    error: GatewayError


@value
class Vector:
    """One embedding: `values` as numbers, or `packed` as base64 of little-endian float32."""

    index: int
    values: tuple[float, ...] = ()
    packed: str | None = None


@value
class Ranked:
    """One document's place in a ranking; best first. `index` is its place in the request."""

    index: int
    score: float


@value
class Counted:
    """The tokens of a prompt. `estimated`: not the provider's own count."""

    tokens: int
    estimated: bool = False


@value
class OpaqueChunk:
    """Bytes of a reply that is not translated."""

    data: bytes


Event: TypeAlias = (
    Started
    | PartStarted
    | TextDelta
    | ThinkingDelta
    | ToolDelta
    | MediaDelta
    | Note
    | PartEnded
    | ChoiceEnded
    | Used
    | Finished
    | Failed
    | Vector
    | Ranked
    | Counted
    | OpaqueChunk
)
