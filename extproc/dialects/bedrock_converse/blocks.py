"""Canonical parts to Converse content blocks.

One `Blocks` writes the blocks of one request. At home (the client speaks
Converse too) a part is written as it came; a foreign one is fitted to what
Bedrock takes: ids and names, formats, neutral names of documents, no blank text.
What cannot be carried is refused or named, by `Losses`.
"""

from __future__ import annotations

import base64
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._media import format_of
from extproc.dialects._tools import Names, arguments_object, legal_id
from extproc.dialects._turns import only_text
from extproc.dialects.bedrock_converse.messages import cited_text
from extproc.dialects.bedrock_converse.words import (
    AS_JSON,
    AS_TEXT,
    AUDIO_FORMATS,
    BAD_IN_NAME,
    DOCUMENT_FORMATS,
    IMAGE_FORMATS,
    LEGAL_ID,
    LEGAL_NAME,
    LONGEST_NAME,
    NAME,
    write_mark,
)
from extproc.model.chat import (
    NOTHING,
    Audio,
    CacheMark,
    Document,
    Image,
    Json,
    OpaquePart,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_NO_OUTPUT = "(no output)"


class Blocks:
    """`caches`: the model takes cache points. `names` are the tools' names over there."""

    def __init__(self, losses: Losses, *, at_home: bool, caches: bool) -> None:
        self._losses = losses
        self._at_home = at_home
        self._caches = caches
        self._documents = 0
        self.names = Names(LEGAL_NAME, BAD_IN_NAME, LONGEST_NAME)

    def of(self, parts: tuple[Part, ...] | list[Part]) -> list[Json]:
        out: list[Json] = []
        for part in parts:
            if isinstance(part, Text) and part.extra is NOTHING and part.cache is None:
                out.append({"text": part.text})
                continue
            block = self._block(part)
            if block is not None:
                out.append(block)
                self.mark(out, getattr(part, "cache", None))
        return out

    def mark(self, out: list[Json], cache: CacheMark | None) -> None:
        """The cache point behind the block just written."""
        if cache is None:
            return
        if self._at_home or self._caches:
            out.append(write_mark(cache))
        else:
            self._losses.drop(Field.CACHE)

    def _block(self, part: Part) -> Object | None:
        """None for what stays away."""
        match part:
            case Text():
                return self._text(part)
            case ToolCall():
                out: Object = {"toolUse": self._tool_use(part)}
            case ToolResult():
                out = {"toolResult": self._tool_result(part)}
            case Image():
                out = {"image": self._image(part)}
            case Audio():
                out = {"audio": self._audio(part)}
            case Document():
                out = {"document": self._document(part)}
            case Thinking() if part.origin != NAME:
                self._losses.drop(Field.THINKING)
                return None
            case Thinking():
                out = _thinking(part)
            case Refusal():
                out = {"text": part.text}
            case OpaquePart():
                if part.extra.dialect != NAME:
                    raise self._losses.refusal(
                        Field.CONTENT, "only its own provider knows this part"
                    )
                return dict(part.extra.fields)
        self._fill(out, part)
        return out

    def _fill(self, out: Object, part: Part) -> None:
        """What the part says besides: written at home, named elsewhere."""
        if part.extra is not NOTHING:
            self._losses.foreign(part.extra, NAME)
            fill(out, part.extra.home(NAME))

    def _text(self, part: Text) -> Object:
        extra = part.extra.home(NAME)
        cited, guarded = extra.get("citationsContent"), extra.get("guardContent")
        if isinstance(cited, dict):
            if cited_text(cited) == part.text:
                return {"citationsContent": cited}
            return {"citationsContent": {**cited, "content": [{"text": part.text}]}}
        inner = guarded.get("text") if isinstance(guarded, dict) else None
        if isinstance(guarded, dict) and isinstance(inner, dict):
            return {"guardContent": {**guarded, "text": {**inner, "text": part.text}}}
        out: Object = {"text": part.text}
        self._fill(out, part)
        return out

    # --- media

    def _image(self, part: Image) -> Object:
        if not self._at_home and part.detail not in (None, "auto"):
            self._losses.drop(Field.DETAIL)
        return self._media(part.source, Field.IMAGE, IMAGE_FORMATS)

    def _media(self, source: Source, field: Field, formats: frozenset[str]) -> Object:
        where = self._source(source, field)
        short = format_of(source.media_type)
        if short is None or (short not in formats and not self._at_home):
            kind = source.media_type or "unknown"
            raise self._losses.refusal(field, f"its type {kind[:64]} is not one that Bedrock takes")
        return {"format": short, "source": where}

    def _source(self, source: Source, field: Field) -> Json:
        if source.data is not None:
            return {"bytes": source.data}
        if source.url is not None and source.url.startswith("s3://"):
            return {"s3Location": {"uri": source.url}}
        if source.url is not None:
            raise self._losses.refusal(field, "it fetches no URLs; send the data itself")
        why = "a file id means nothing there; send the data itself"
        raise self._losses.refusal(Field.FILE_ID, why)

    def _audio(self, part: Audio) -> Object:
        short = part.format or format_of(part.source.media_type) or ""
        if short not in AUDIO_FORMATS and not self._at_home:
            raise self._losses.refusal(Field.AUDIO, f"its format {short[:64]!r} is not known there")
        return {"format": short, "source": self._source(part.source, Field.AUDIO)}

    def _document(self, part: Document) -> Object:
        # A name goes into the prompt, so what a stranger called the file stays away.
        self._documents += 1
        name = part.source.name
        if not self._at_home or name is None:
            name = f"Document {self._documents}"
        out: Object = {"name": name, **self._media(part.source, Field.DOCUMENT, DOCUMENT_FORMATS)}
        if AS_TEXT in part.extra.home(NAME) and part.source.data is not None:
            text = base64.b64decode(part.source.data).decode("utf-8", "surrogatepass")
            out["source"] = {"text": text}
        return out

    # --- tools

    def tool_id(self, call_id: str) -> str:
        return call_id if self._at_home else legal_id(call_id, LEGAL_ID)

    def tool_name(self, name: str) -> str:
        return name if self._at_home else self.names.sent(name)

    def _tool_use(self, part: ToolCall) -> Object:
        return {
            "toolUseId": self.tool_id(part.id),
            "name": self.tool_name(part.name),
            "input": self._input(part),
        }

    def _input(self, part: ToolCall) -> Json:
        if self._at_home and part.extra.dialect in (NAME, ""):
            # Whatever JSON the client sent: it need not be an object.
            try:
                return jsontext.loads(part.arguments.encode("utf-8", "surrogatepass"))
            except jsontext.BadJson:
                pass
        return arguments_object(part)

    def _tool_result(self, part: ToolResult) -> Object:
        content: list[Json] = []
        text = only_text(part.parts)
        if text and not text.isspace():
            content.append({"text": text})
        else:
            written = (self._result_block(inner) for inner in part.parts)
            content.extend(block for block in written if block is not None)
        if not content and not self._at_home:
            content.append({"text": _NO_OUTPUT})
        out: Object = {"toolUseId": self.tool_id(part.call_id), "content": content}
        if part.is_error:
            out["status"] = "error"
        return out

    def _result_block(self, part: Part) -> Object | None:
        match part:
            case Text() if AS_JSON in part.extra.home(NAME):
                try:
                    return {"json": jsontext.loads(part.text.encode("utf-8", "surrogatepass"))}
                except jsontext.BadJson:
                    return {"text": part.text}
            case Text() if not (self._at_home or part.text.strip()):
                return None
            case Audio() if not self._at_home:
                raise self._losses.refusal(Field.RESULT_MEDIA, "it cannot hold sound there")
            case ToolCall() | ToolResult():
                raise self._losses.refusal(Field.RESULT, "it cannot hold calls")
            case _:
                return self._block(part)


def _thinking(part: Thinking) -> Object:
    if part.redacted is not None:
        return {"reasoningContent": {"redactedContent": part.redacted}}
    said: Object = {"text": part.text}
    if part.signature is not None:
        said["signature"] = part.signature
    return {"reasoningContent": {"reasoningText": said}}
