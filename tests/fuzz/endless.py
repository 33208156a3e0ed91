"""A provider that never stops: what a decoder holds stays bounded whatever it is sent, for ever.

Each kind of event of each fixture, with each of its strings made long in turn, is
sent again and again, until far more has come than a decoder may hold.
"""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from random import Random

from extproc.model.dialect import ReplyHead
from extproc.model.reply import Failed
from tests.fuzz.material import Material, Reply, joined
from tests.fuzz.mutate import DATA, places

LONG = 64 * 1024
SENT = 48 * 1024 * 1024
MOST_HELD = 34 * 1024 * 1024
"""bytes; text may be held twice while it is put together"""
_VALUES = re.compile(r":\s*(\"[^\"]*\"|[\d.]+)")
"""the values of an event: two that differ in them only are of one kind"""


def endless(material: Material, name: str, most: int, seed: int = 0) -> Iterator[str]:
    """What is wrong with the decoder of `name`, in words, after at most so many such streams."""
    streams = list(_streams(material, name))
    Random(seed).shuffle(streams)
    for reply, at, long in streams[:most]:
        held = _held(material, name, reply, at, long)
        if held > MOST_HELD:
            yield f"{name} holds {held >> 20} MB of events like {reply.frames[at][:120]!r}"


def _streams(material: Material, name: str) -> Iterator[tuple[Reply, int, bytes]]:
    """A reply, the place of an event in it, and that event made long."""
    seen: set[str] = set()
    for reply in material.replies[name]:
        if not reply.fixture or len(reply.frames) < 3:
            continue
        for at, frame in enumerate(reply.frames):
            shape = _VALUES.sub("", frame.decode("utf-8", "replace"))
            if shape not in seen:
                seen.add(shape)
                yield from ((reply, at, long) for long in _lengthened(frame))


def _lengthened(frame: bytes) -> Iterator[bytes]:
    """The event with one of its strings long, for each of them."""
    found = DATA.search(frame)
    text = frame if found is None else found[2]
    try:
        count = len(places(json.loads(text)))
    except ValueError:
        return
    for which in range(count):
        value = json.loads(text)
        box, key = places(value)[which]
        if isinstance(box[key], str) and key not in ("type", "event-type", 0):
            box[key] += "x" * LONG
            long = json.dumps(value).encode()
            yield long + b"\n" if found is None else DATA.sub(lambda m: m[1] + long, frame, count=1)  # noqa: B023


def _held(material: Material, name: str, reply: Reply, at: int, frame: bytes) -> int:
    """Bytes that the decoder keeps after the frames before `at` and many of that one."""
    head = ReplyHead(200, {"content-type": reply.content_type})
    pairs = (pair for some in material.pairs[name].values() for pair in some)
    rendered = next(pair.rendered for pair in pairs if pair.rendered.stream)
    decoder = material.dialects[name].decoder(head, rendered)
    decoder.feed(joined(list(reply.frames[:at]), reply.content_type))
    decoder.take()
    batch = joined([frame], reply.content_type)
    tracemalloc.start()
    try:
        for _ in range(SENT // len(batch)):
            failed = any(isinstance(event, Failed) for event in decoder.feed(batch))
            decoder.take()
            if failed:
                break
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
