"""The wishes that a client has for the gateway itself, the same in every dialect.

They come as `x-sluice-*` headers, or as a `sluice` object in a JSON body; where
both say something, the header wins. They never reach a provider.
"""

from __future__ import annotations

import math
import re

from extproc.dialects._reading import expect_list, expect_object, expect_string, type_error
from extproc.model.chat import NO_OPTIONS, Json, Options
from extproc.model.dialect import Headers
from extproc.model.errors import InvalidRequest

BODY_MEMBER = "sluice"
_PREFIX = "x-sluice-"
_CACHE_WORDS = {"use": "use", "bypass": "bypass", "refresh": "refresh", "no": "bypass"}
"""what a client may say, and what it means"""
_TRUE = ("1", "true", "yes")
_FALSE = ("", "0", "false", "no")
_CONVERSATION = re.compile(r"[A-Za-z0-9._:@/+=~-]{1,128}")


def read_options(headers: Headers, member: Json = None) -> Options:
    """Options from the headers and from the body's `sluice` member (None: there is none).

    Raises `InvalidRequest` with the header's or member's name as `param`.
    """
    if member is None and not [name for name in headers if name.startswith(_PREFIX)]:
        return NO_OPTIONS
    body = {} if member is None else expect_object(member, BODY_MEMBER)
    for name in body:
        if name not in _MEMBERS:
            path = f"{BODY_MEMBER}.{name}"
            known = ", ".join(_MEMBERS)
            raise InvalidRequest(f"{path} is not known; known members: {known}", param=path)
    return Options(
        tags=_tags(headers, body.get("tags")),
        user=_word(headers, "user", body.get("user")),
        timeout=_timeout(headers, body.get("timeout")),
        cache=_cache(headers, body.get("cache")),
        strict=_flag(headers, "strict", body.get("strict")),
        why=_word(headers, "why", body.get("why")),
        conversation=_conversation(headers),
        format=_format(headers, body.get("format")),
    )


_MEMBERS = ("tags", "user", "timeout", "cache", "strict", "why", "format")


def _tags(headers: Headers, value: Json) -> tuple[str, ...]:
    text = headers.get(_PREFIX + "tags")
    if text is not None:
        return tuple(tag for tag in (part.strip() for part in text.split(",")) if tag)
    if value is None:
        return ()
    path = f"{BODY_MEMBER}.tags"
    tags = expect_list(value, path)
    return tuple(expect_string(tag, f"{path}[{i}]") for i, tag in enumerate(tags))


def _word(headers: Headers, name: str, value: Json) -> str | None:
    text = headers.get(_PREFIX + name)
    if text is not None:
        return text.strip() or None
    return None if value is None else expect_string(value, f"{BODY_MEMBER}.{name}")


def _conversation(headers: Headers) -> str | None:
    """Of a header alone: in bodies it is the dialect's own affair."""
    text = _word(headers, "conversation", None)
    return None if text is None else conversation_name(text, _PREFIX + "conversation")


def conversation_name(text: str, path: str) -> str:
    """The name if it may be one. Raises `InvalidRequest` that names `path`, and never the name."""
    if not _CONVERSATION.fullmatch(text):
        raise InvalidRequest(
            f"{path} must be 1 to 128 letters of ASCII, digits and any of . _ : @ / + = ~ -",
            param=path,
        )
    return text


def _format(headers: Headers, value: Json) -> str | None:
    word = _word(headers, "format", value)
    if word in (None, "plain"):
        return word
    path = _PREFIX + "format" if _PREFIX + "format" in headers else f"{BODY_MEMBER}.format"
    raise InvalidRequest(f"{path} must be plain", param=path)


def _timeout(headers: Headers, value: Json) -> float | None:
    text = headers.get(_PREFIX + "timeout")
    path = _PREFIX + "timeout" if text is not None else f"{BODY_MEMBER}.timeout"
    if text is not None:
        try:
            seconds = float(text)
        except ValueError:
            raise InvalidRequest(f"{path} must be a number of seconds", param=path) from None
    elif value is None:
        return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise type_error(value, path, "a number of seconds")
    else:
        seconds = value
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidRequest(f"{path} must be a number of seconds above 0", param=path)
    return float(seconds)


def _cache(headers: Headers, value: Json) -> str | None:
    word = _word(headers, "cache", value)
    if word is None:
        return None
    if word in _CACHE_WORDS:
        return _CACHE_WORDS[word]
    path = _PREFIX + "cache" if _PREFIX + "cache" in headers else f"{BODY_MEMBER}.cache"
    raise InvalidRequest(f"{path} must be one of {', '.join(_CACHE_WORDS)}", param=path)


def _flag(headers: Headers, name: str, value: Json) -> bool:
    text = headers.get(_PREFIX + name)
    if text is not None:
        word = text.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        path = _PREFIX + name
        raise InvalidRequest(f"{path} must be 1 or 0", param=path)
    if value is None or isinstance(value, bool):
        return value is True
    raise type_error(value, f"{BODY_MEMBER}.{name}", "a boolean")
