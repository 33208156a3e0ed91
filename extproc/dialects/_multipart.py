"""One short field of a `multipart/form-data` body, found without touching anything else.

Takes the body and its content type; gives the field's text. Only boundaries, the
heads of parts and that field are read. What two readers could understand
differently is refused, since what we read decides who may send it.
"""

from __future__ import annotations

import re

from extproc.model.errors import InvalidRequest

MAX_PARTS = 1000
MAX_HEAD = 8 * 1024
"""bytes of one part's head"""
MAX_FIELD = 1024
"""bytes of the field"""

_BOUNDARY = re.compile(
    r'multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I
)
_DISPOSITION = re.compile(
    r'form-data((?:\s*;\s*[\w!#$&+.^`|~-]+\*?=(?:"(?:[^"\\]|\\.)*"|[^\s;"]*))*)\s*;?', re.I | re.S
)
_PARAMETER = re.compile(r';\s*([^=\s;]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.S)


def is_multipart(content_type: str) -> bool:
    return content_type.lower().lstrip().startswith("multipart/form-data")


def field(body: bytes, content_type: str, wanted: str) -> str:
    """The text of the part named `wanted`, or the empty string. Raises `InvalidRequest`."""
    boundary = _BOUNDARY.match(content_type.strip())
    if boundary is None:
        raise _bad("its content-type has no boundary")
    mark = b"--" + (boundary[1] or boundary[2]).encode()
    if not body.startswith(mark):
        raise _bad("it does not start with its boundary")
    found: str | None = None
    at = len(mark)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", at):
            return found or ""
        head_end = body.find(b"\r\n\r\n", at, at + MAX_HEAD)
        if not body.startswith(b"\r\n", at) or head_end < 0:
            raise _bad("a part has no head, or too long a one")
        start = head_end + 4
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise _bad("its last part does not end")
        if _name(body[at + 2 : head_end]) == wanted:
            if found is not None:
                raise _bad(f"it has the field {wanted} twice")
            found = _text(body[start:end], wanted)
        at = end + 2 + len(mark)
    raise _bad(f"it has more than {MAX_PARTS} parts")


def _name(head: bytes) -> str | None:
    """The name in a part's head; None for a part without one."""
    names: list[str] = []
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") or (line and not colon):
            raise _bad("a line in the head of a part is no header")
        if key.strip().lower() != "content-disposition":
            continue
        parameters = _DISPOSITION.fullmatch(value.strip())
        if parameters is None:
            raise _bad("the content-disposition of a part cannot be read")
        for parameter in _PARAMETER.finditer(parameters[1]):
            match parameter[1].lower():
                case "name":
                    quoted = parameter[2]
                    names.append(
                        parameter[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                    )
                case "name*":
                    raise _bad("the name of a part is written as name*")
                case _:
                    pass
    if len(names) > 1:
        raise _bad("a part has two names")
    return names[0] if names else None


def _text(value: bytes, wanted: str) -> str:
    if len(value) > MAX_FIELD:
        raise _bad(f"the field {wanted} is too long")
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise _bad(f"the field {wanted} is not UTF-8") from None


def _bad(why: str) -> InvalidRequest:
    return InvalidRequest(f"The multipart body cannot be read: {why}.", code="invalid_multipart")
