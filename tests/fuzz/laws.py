"""One case from one seed: a spoiled request or a spoiled reply, and what must hold whatever it is.

- Reading a request, rendering it, and writing a reply raise nothing but `GatewayError`.
- A decoder raises nothing, ends in exactly one `Finished` or `Failed`, and gives nothing after it.
- What it gives for a conversation is well formed.
- What a decoder gives, the client's encoder takes, in any dialect.
- No case takes long, and what is given is in proportion to what came.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from extproc.model.call import CallId, Capabilities, OnLossy
from extproc.model.chat import Chat, ListModels
from extproc.model.dialect import (
    STREAM_TYPES,
    Dialect,
    ReplyContext,
    ReplyHead,
    RequestHead,
)
from extproc.model.embed import Request
from extproc.model.errors import GatewayError
from extproc.model.reply import Event, Failed, Finished
from tests.dialects.reading import assert_well_formed
from tests.fuzz import mutate
from tests.fuzz.material import EVENTS, Material, Pair, joined, target, without_raw

MOST_SECONDS = 5.0
"""of processor time for one case; the slowest honest one takes a hundredth of it"""
MOST_EVENTS = 4
"""for each byte that came, beyond some"""
CALL = CallId("gw-00000000-0000-4000-8000-000000000000")
_STATUSES = (200, 200, 200, 200, 200, 201, 204, 302, 400, 401, 404, 413, 429, 500, 503, 529, 999)
_KINDS = (*sorted(STREAM_TYPES), "application/json", "text/plain", "", "TEXT/EVENT-STREAM; x=y")
_HEADERS = (
    ("retry-after", "soon"),
    ("retry-after", "9" * 400),
    ("retry-after-ms", "-1"),
    ("x-ratelimit-limit-requests", "1e999"),
    ("x-ratelimit-reset-tokens", "6m0s x"),
    ("anthropic-ratelimit-requests-reset", "2026-99-99T00:00:00Z"),
    ("anthropic-ratelimit-tokens-remaining", "-5"),
    ("x-amzn-errortype", ":::"),
    ("content-encoding", "gzip"),
    ("x-sluice-timeout", "nan"),
    ("x-sluice-tags", ",,"),
    ("anthropic-beta", ",".join("abc")),
)
_CANS = (
    *(Capabilities(), Capabilities(vision=False), Capabilities(tools=False)),
    Capabilities(json_schema=False, reasoning=False, adaptive_thinking=False, max_output=1),
    Capabilities(system_in_messages=True, adaptive_thinking=True, reasoning=True, max_output=9),
)


def case(material: Material, seed: int) -> None:
    """Raises what the code under test must not raise, or AssertionError."""
    dice = Random(seed)
    begun = time.process_time()
    if dice.random() < 0.5:
        _request(material, dice)
    else:
        _reply(material, dice)
    assert time.process_time() - begun < MOST_SECONDS, "it took too long"


# --- requests


def _request(material: Material, dice: Random) -> None:
    some = material.good if dice.random() < 0.9 else material.asked
    asked = dice.choice(some[dice.choice(material.names)])
    body, head = asked.body, asked.head
    if dice.random() < 0.75:
        body = mutate.spoiled_value(body, dice)
    if dice.random() < 0.15:
        body = mutate.spoiled_bytes(body, material.frames, dice)
    path, query = head.path, head.query
    if dice.random() < 0.1:
        path = mutate.spoiled_bytes(path.encode(), [], dice)[:300].decode("latin-1")
    if dice.random() < 0.1:
        query = dice.choice(["alt=sse", "%", "a=%ff&a", "&&==", "api-version=1"])
    head = RequestHead(head.method, path, query, _headers(dice), head.operation)
    client = material.dialects[asked.dialect]
    try:
        request = client.parse_request(head, body)
    except GatewayError as error:
        client.render_error(error, CALL)
        return
    if isinstance(request, ListModels):
        return
    for name, dialect in material.dialects.items():
        if dialect.speaks_to_providers:
            _rendered(client, dialect, name, request, dice)


def _rendered(client: Dialect, dialect: Dialect, name: str, request: Request, dice: Random) -> None:
    """Raw or not, strict or not, for a model that can do this or that."""
    lossy = dice.choice([OnLossy.DROP, OnLossy.REJECT])
    wanted = target(name, lossy, dice.choice(_CANS))
    if dice.random() < 0.7:
        request = without_raw(request)
    try:
        rendered = dialect.render_request(request, wanted)
    except GatewayError as error:
        client.render_error(error, CALL)
        return
    assert isinstance(rendered.body, bytes)
    rendered.path.encode("ascii")


# --- replies


def _reply(material: Material, dice: Random) -> None:
    some = material.pairs if dice.random() < 0.93 else material.carried
    name = dice.choice([name for name in material.names if some[name]])
    pair = dice.choice(some[name][dice.choice(list(some[name]))])
    dialect = material.dialects[name]
    source = (
        name if dice.random() < 0.85 and material.replies[name] else dice.choice(_full(material))
    )
    reply = dice.choice(material.replies[source])
    frames = list(reply.frames)
    if dice.random() < 0.6:
        at = dice.randrange(len(frames))
        frames[at] = mutate.spoiled_frame(frames[at], dice)
    if dice.random() < 0.4:
        frames = mutate.spoiled_order(frames, material.frames, dice)
    body = joined(frames, reply.content_type)
    if dice.random() < (0.05 if reply.content_type == EVENTS else 0.25):
        body = mutate.spoiled_bytes(body, material.frames, dice)
    status = reply.status if dice.random() < 0.85 else dice.choice(_STATUSES)
    kind = reply.content_type if dice.random() < 0.85 else dice.choice(_KINDS)
    head = ReplyHead(status, {"content-type": kind, **_headers(dice)})
    events = _decoded(dialect, head, pair, mutate.pieces(body, dice))
    if isinstance(pair.request, Chat):
        assert_well_formed(events)
    assert len(events) < 100 + MOST_EVENTS * len(body), "more came out than went in"
    client = material.dialects[pair.client]
    client.write_limits(dialect.read_limits(head))
    _encoded(client, pair.request, events, stream=dice.random() < 0.5)


def _full(material: Material) -> list[str]:
    return [name for name in material.names if material.replies[name]]


def _decoded(dialect: Dialect, head: ReplyHead, pair: Pair, pieces: Sequence[bytes]) -> list[Event]:
    decoder = dialect.decoder(head, pair.rendered)
    events: list[Event] = []
    for piece in pieces:
        events.extend(decoder.feed(piece))
        decoder.take()
    events.extend(decoder.close())
    decoder.take()
    assert not decoder.close(), "it spoke after its end"
    ends = [at for at, event in enumerate(events) if isinstance(event, Finished | Failed)]
    assert ends == [len(events) - 1], f"it ended at {ends} of {len(events)} events"
    return events


def _encoded(client: Dialect, request: Request, events: list[Event], *, stream: bool) -> None:
    """As the machine does it: a failure is an event within a stream, and else a reply of its own."""
    last = events[-1]
    if isinstance(last, Failed):
        client.render_error(last.error, CALL)
        if not stream or not request_streams(request):
            return
    context = ReplyContext(CALL, "m", 1_700_000_000)
    try:
        encoder = client.encoder(request, context)
        encoder.head()
        for event in events:
            assert isinstance(encoder.feed(event), bytes)
    except GatewayError as error:
        client.render_error(error, CALL)


def request_streams(request: Request) -> bool:
    return not isinstance(request, ListModels) and request.stream


def _headers(dice: Random) -> dict[str, str]:
    return dict(dice.sample(_HEADERS, dice.choice([0, 0, 0, 1, 2])))
