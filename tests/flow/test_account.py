"""What is known of an exchange whose reply was not read to its end, or had nothing to be read before it."""

from __future__ import annotations

import json

from extproc.app import line
from extproc.flow.messages import Continue, Mode
from extproc.model.call import Outcome
from tests.kit import Dialogue

ASK = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}'


def chunk(text: str, made: int) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    usage = {"prompt_tokens": 9, "completion_tokens": made, "total_tokens": 9 + made}
    return (
        b"data: " + json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode() + b"\n\n"
    )


async def test_the_reply_to_a_request_without_a_body_is_asked_for() -> None:
    """trap 62: what nobody asked to see would pass as the provider sent it."""
    dialogue = Dialogue()
    answer = await dialogue.head("/v1/files", "GET", end=True)
    assert isinstance(answer, Continue)
    assert answer.mode is Mode.REQUEST
    assert answer.route is not None
    headers = {"set-cookie": "a=b", "content-length": "2"}
    reply = await dialogue.reply_head(headers=headers)
    assert isinstance(reply, Continue)
    assert "set-cookie" in reply.remove
    await dialogue.reply_body(b"{}")
    assert dialogue.exchange.over
    assert (await dialogue.exchange.close()).outcome is Outcome.OK


async def test_who_hangs_up_is_billed_for_what_was_told_until_then() -> None:
    """trap 65: some providers count in every chunk; the last one that came is what it cost."""
    dialogue = Dialogue()
    await dialogue.head()
    await dialogue.body(ASK)
    await dialogue.reply_head(content_type="text/event-stream")
    await dialogue.reply_body(chunk("Hel", 1), end=False)
    await dialogue.reply_body(chunk("lo", 2), end=False)
    record = await dialogue.exchange.close()
    assert record.outcome is Outcome.ABORTED
    assert record.usage is not None
    assert (record.usage.prompt, record.usage.output) == (9, 2)
    assert record.error is None
    again = await dialogue.exchange.close()
    assert again is record


async def test_what_is_billed_beside_tokens_is_in_the_line() -> None:
    dialogue = Dialogue()
    await dialogue.head("/v1/audio/speech")
    await dialogue.body(b'{"model":"gpt-4o","voice":"alloy","input":"hello"}')
    await dialogue.reply_head(content_type="audio/mpeg")
    await dialogue.reply_body(b"ID3")
    fields = line(await dialogue.exchange.close())
    assert fields["characters"] == 5
    assert not fields.keys() & {"search_units", "audio_seconds", "images"}
