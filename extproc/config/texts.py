"""Kinds of text that several blocks of the language are made of. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from extproc.config.shapes import FileName, Text

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
REGION = r"[a-z][a-z0-9-]{0,39}"
ADDRESS = rf"{NAME}(@{REGION})?"
"""what a target calls a provider, or one of its regions"""
NAMES = "up to 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit"
KEY_HASH = r"blake2b\$[0-9A-Za-z]{8}\$[0-9a-f]{32}\$[0-9a-f]{64}"
HOST = r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?"
_HOST_PORT = rf"({HOST}|\[[0-9A-Fa-f:.]+\]):[0-9]{{1,5}}"


def endpoint_problem(text: str) -> str | None:
    """What keeps `text` from being a provider's base URL. Says what kind of thing was found only."""
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname
    except ValueError:
        return "found a URL with a broken host or port"
    if url.scheme not in ("http", "https") or not host:
        return "found no http:// or https:// URL"
    if not re.fullmatch(HOST, host) and ":" not in host:
        return "found a URL with a broken host or port"
    if port == 0 or any(not "!" <= character <= "~" for character in text):
        return "found port 0" if port == 0 else "found a URL with blanks or characters beyond ASCII"
    extras = {
        "user name or password": "@" in url.netloc,
        "query": "?" in text,
        "fragment": "#" in text,
    }
    found = next((name for name, there in extras.items() if there), None)
    return f"found a URL with a {found}" if found else None


def proxy_problem(text: str) -> str | None:
    if not re.fullmatch(_HOST_PORT, text):
        return "found another form"
    port = int(text.rpartition(":")[2])
    return None if 1 <= port <= 65535 else f"found port {port}"


def condition_problem(text: str) -> str | None:
    """What keeps `text` from being a condition. The library that says so is heavy: it waits for one."""
    from extproc.config.conditions import check

    return check(text)


PATTERN = Text("a model's name, a prefix ending in `*`, or `*`", pattern=r"[^*\s]+\*?|\*")
MODEL = Text("a model's name", pattern=r"[^*\s]+")
FILE = FileName(exists=True)
