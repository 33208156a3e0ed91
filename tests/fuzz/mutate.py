"""Ways to spoil a message: its frames, the values within them, its bytes.

Everything is drawn from the `Random` that is given, so that a seed tells the whole case.
"""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

_LEAST = (0, 1, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 1e308, 1e-320, 0.1)
_ODD = (
    "null",
    "true",
    "false",
    '""',
    r'"\u0000"',
    r'"\ud800"',
    r'"x\udfffy"',
    '"{"',
    "[]",
    "{}",
    "[null]",
)
"""as text: made anew each time, for what is put in may be spoiled again"""
_JUNK = (
    *(b"", b"{", b"}", b"[", b"]", b'"', b"null", b"NaN", b"1e999", b"-", b"\n", b"\n\n", b"\r"),
    *(
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"data:",
        b"data: ",
    ),
    *(b"[DONE]", b"event: ", b"event: error\n", b":\n", b"id:", b"retry: 1\n", b"\xc3", b"<html>"),
    *(b"9" * 40, b"9" * 5000, b"[" * 600, b'{"a":' * 600, b"[" * 100_000, b" " * 3000),
)


def _nested(depth: int, dice: Random) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value] if dice.random() < 0.5 else {"a": value}
    return value


def _value(dice: Random, known: list[Any]) -> Any:
    """A value that has no business where it is put; often one from elsewhere in the message."""
    match dice.randrange(6):
        case 0:
            return dice.choice(_LEAST)
        case 1 | 2:
            return json.loads(dice.choice(_ODD))
        case 3:
            return _nested(dice.choice([1, 3, 60, 260]), dice)
        case 4:
            return dice.choice(["x", "é", "\\", "😀", "call_1 "]) * dice.choice([1, 70, 5000])
        case _:
            return dice.choice(known) if known else None


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key below `value`."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list):
            keys = item.keys() if isinstance(item, dict) else range(len(item))
            found.extend((item, key) for key in keys)
            todo.extend(item[key] for key in keys)
    return found


def spoiled_value(text: bytes, dice: Random) -> bytes:
    """JSON with a few of its values replaced, removed, renamed or doubled; other text as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        spots = places(value)
        if not spots:
            return text
        box, key = dice.choice(spots)
        match dice.randrange(8):
            case 0:
                del box[key]
            case 1 if isinstance(box, dict):
                box[dice.choice([str(k) for _, k in spots])] = box.pop(key)
            case 1 | 2 if isinstance(box, list):
                box.extend(json.loads(json.dumps([box[key]] * dice.choice([1, 2, 40]))))
            case _:
                # A copy: a value that held itself could not be written.
                other, at = dice.choice(spots)
                box[key] = _value(dice, [json.loads(json.dumps(other[at]))])
    return json.dumps(value, ensure_ascii=dice.random() < 0.7).encode("utf-8", "surrogatepass")


DATA = re.compile(rb"^(data: ?)([^\r\n]+)", re.MULTILINE)


def spoiled_frame(frame: bytes, dice: Random) -> bytes:
    """One event of a stream, its JSON spoiled."""
    if DATA.search(frame):
        return DATA.sub(lambda m: m[1] + spoiled_value(m[2], dice), frame)
    return spoiled_value(frame, dice)


def spoiled_order(frames: list[bytes], others: list[bytes], dice: Random) -> list[bytes]:
    """Frames lost, doubled, swapped, cut off, or from another reply."""
    frames = list(frames)
    for _ in range(dice.choice([1, 1, 2, 3])):
        at = dice.randrange(len(frames) + 1)
        match dice.randrange(6):
            case 0:
                del frames[at : at + dice.choice([1, 1, 2, 5])]
            case 1 if at < len(frames):
                frames[at:at] = [frames[at]] * dice.choice([1, 2, 30])
            case 2 if len(frames) > 1:
                one, two = dice.randrange(len(frames)), dice.randrange(len(frames))
                frames[one], frames[two] = frames[two], frames[one]
            case 3:
                del frames[at:]
            case 4 if at < len(frames):
                frames[at] = spoiled_frame(frames[at], dice)
            case _:
                frames.insert(at, dice.choice(others) if others else b"")
    return frames


def spoiled_bytes(data: bytes, others: list[bytes], dice: Random) -> bytes:
    """Bits flipped, pieces cut out, doubled, spliced in, or the end cut off."""
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice([1, 2, 5, 30, 400]))
        match dice.randrange(7):
            case 0 if at < len(data):
                flipped = bytes([data[at] ^ 1 << dice.randrange(8)])
                data = data[:at] + flipped + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                data = data[:at]
            case 4 if others:
                other = dice.choice(others)
                cut = dice.randrange(len(other) + 1)
                data = data[:at] + other[cut : cut + dice.choice([3, 50, 2000])] + data[end:]
            case _:
                data = data[:at] + dice.choice(_JUNK) + data[end:]
    return data


def pieces(data: bytes, dice: Random) -> list[bytes]:
    """The bytes cut anywhere: whole, evenly, or at random, with empty pieces among them."""
    match dice.randrange(4):
        case 0:
            return [data]
        case 1:
            step = dice.choice([1, 7, 64]) if len(data) < 20_000 else 1000
            return [data[at : at + step] for at in range(0, len(data), step)]
        case _:
            edges = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 12)))
            return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]
