"""Short ways to ask any dialect of the folder the same: one text, whole or streamed."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.discover import registry
from extproc.model.call import CallId, Target
from extproc.model.chat import Chat, Message, Role, Sampling, Text
from extproc.model.dialect import (
    Dialect,
    Endpoint,
    Rendered,
    ReplyContext,
    ReplyHead,
    RequestHead,
)
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Finished,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
)

DIALECTS = {name: one for name, one in registry().dialects.items() if one.speaks_to_providers}
CONTEXT = ReplyContext(CallId("gw-1"), "a-model", 1_772_359_200)


def asked(name: str, words: str, *, stream: bool) -> Rendered:
    """What this dialect's provider is sent for a prompt that came in another language."""
    chat = Chat(
        dialect="elsewhere",
        model="a-model",
        messages=(Message(Role.USER, (Text(words),)),),
        stream=stream,
        sampling=Sampling(max_tokens=50),
    )
    return DIALECTS[name].render_request(chat, Target("acme", "a-model", name))


def endpoint(dialect: Dialect, path: str) -> tuple[Endpoint, str]:
    """The dialect's own endpoint for a path that it rendered, and that path as clients send it."""
    for one in dialect.endpoints:
        if one.path.endswith("*"):
            if one.method == "POST" and path.startswith(one.path[:-1]):
                return one, path
        elif one.method == "POST" and one.path.endswith(path):
            return one, one.path
    raise AssertionError(f"{dialect.name} has no endpoint for {path}")


def at_home(name: str, rendered: Rendered) -> Chat:
    """The same request, as a client of this dialect would have sent it."""
    dialect = DIALECTS[name]
    path, _, query = rendered.path.partition("?")
    found, path = endpoint(dialect, path)
    head = RequestHead("POST", path, query, dict(rendered.headers), found.operation)
    request = dialect.parse_request(head, rendered.body)
    assert isinstance(request, Chat)
    return request


def reply(pieces: Sequence[str], reason: Reason) -> list[Event]:
    return [
        Started("id", "a-model", 1_772_359_200),
        PartStarted(PartKind.TEXT),
        *(TextDelta(piece) for piece in pieces),
        PartEnded(),
        ChoiceEnded(reason),
        Finished(),
    ]


def written(name: str, request: Chat, events: Sequence[Event]) -> tuple[ReplyHead, bytes]:
    encoder = DIALECTS[name].encoder(request, CONTEXT)
    status, headers = encoder.head()
    return ReplyHead(status, headers), b"".join(encoder.feed(event) for event in events)
