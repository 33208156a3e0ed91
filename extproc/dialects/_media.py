"""Pictures, sound and documents: `data:` URLs, media types, short formats.

Takes and gives text: base64 stays base64, and nothing is ever fetched, since a
client's URL may point into the network that the gateway stands in.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.chat import Source

_SCHEME = "data:"
_ANY = "application/octet-stream"

FORMATS: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/html": "html",
    "text/markdown": "md",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
"""short name of a media type"""

_TYPES: Mapping[str, str] = {short: long for long, short in reversed(FORMATS.items())}


def source_of(url: str, media_type: str | None = None, name: str | None = None) -> Source:
    """The source that a URL stands for; a `data:` URL in base64 is taken apart."""
    if not url.startswith(_SCHEME):
        return Source(url=url, media_type=media_type, name=name)
    head, comma, data = url[len(_SCHEME) :].partition(",")
    kind, *options = head.split(";")
    if not comma or "base64" not in options:
        return Source(url=url, media_type=media_type, name=name)
    return Source(data=data, media_type=kind or media_type, name=name)


def data_url(source: Source) -> str:
    """The `data:` URL of a source that has `data`."""
    return f"{_SCHEME}{source.media_type or _ANY};base64,{source.data or ''}"


def format_of(media_type: str | None) -> str | None:
    """`png`, `pdf` ... or None when it has no short name."""
    return FORMATS.get((media_type or "").partition(";")[0].strip().lower())


def type_of(short: str) -> str | None:
    """The media type of a short name."""
    return _TYPES.get(short.lower())
