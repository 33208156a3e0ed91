"""Canonical requests to OpenAI Chat bodies, and the splice that spares us most of them.

A request that came in this dialect, and that no stage changed (it still has
its `raw` bytes), leaves as those bytes; at most its model, token limit,
`stream_options` and our own member are spliced. One that a stage changed is
written anew by `home`, one of another dialect by `foreign`.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.openai_chat.foreign import write_foreign
from extproc.dialects.openai_chat.home import write_home
from extproc.dialects.openai_chat.quirks import SETTINGS, Quirks, path_of, quirks_of
from extproc.dialects.openai_chat.words import LIMIT, NAME, OPTIONS
from extproc.model.call import Target
from extproc.model.chat import Chat, Extra
from extproc.model.dialect import Rendered

PATH = "/chat/completions"
_HEADERS = {"content-type": "application/json"}


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for `target`.

    Raises `Unsupported` for what this language cannot say and must not drop.
    """
    losses = Losses(target)
    quirks = quirks_of(target)
    renamed: Mapping[str, str] = {}
    if chat.dialect != NAME:
        body, renamed = write_foreign(chat, target, losses, quirks)
    elif chat.raw:
        body = _spliced_chat(chat, target.model, quirks)
    else:
        losses.settings(chat, SETTINGS)
        body = jsontext.dumps(write_home(chat, target.model, quirks))
    return Rendered(
        path=path_of(target, PATH),
        body=body,
        headers=_HEADERS,
        dropped=losses.names,
        stream=chat.stream,
        withhold_usage=chat.stream and not chat.include_usage,
        renamed=renamed,
    )


def _spliced_chat(chat: Chat, model: str, quirks: Quirks) -> bytes:
    known = chat.extra.fields
    replace: dict[str, bytes] = {}
    add: dict[str, bytes] = {}
    remove: tuple[str, ...] = ()
    if quirks.tells_usage:
        remove = ("stream_options",) if "stream_options" in known else ()
    elif chat.stream:
        options = known.get("stream_options")
        if "stream_options" not in known:
            add["stream_options"] = b'{"include_usage":true}'
        elif not isinstance(options, dict):
            replace["stream_options"] = b'{"include_usage":true}'
        elif options.get("include_usage") is not True:
            replace["stream_options"] = jsontext.dumps({**options, "include_usage": True})
    given, wanted = known.get(LIMIT), quirks.limit
    if isinstance(given, str) and wanted is not None and given != wanted:
        remove = (*remove, given)
        # There as null, perhaps; a member must not be there twice.
        where = replace if wanted in known else add
        where[wanted] = jsontext.dumps(chat.sampling.max_tokens)
    return splice(chat.raw, chat.extra, chat.model, model, replace=replace, add=add, remove=remove)


def splice(
    raw: bytes,
    extra: Extra,
    named: str,
    model: str,
    *,
    replace: Mapping[str, bytes] | None = None,
    add: Mapping[str, bytes] | None = None,
    remove: tuple[str, ...] = (),
) -> bytes:
    """A client's body with another model's name if it was `named` differently, and without our member.

    It is the very same object where nothing has to change.
    """
    if model != named:
        replace = {**(replace or {}), "model": jsontext.dumps(model)}
    if OPTIONS in extra.fields:
        remove = (*remove, BODY_MEMBER)
    if not (replace or add or remove):
        return raw
    return jsontext.splice(raw, replace=replace, remove=remove, add=add)
