"""What providers say when a request itself is at fault, or who pays for it: each in its own words
and envelope.

Takes a speaker and a kind of `refuse=KIND`, gives its `Answer`. A language without a
word of its own for a kind answers as OpenAI would, in its own envelope. Google tells
of a blocked prompt in a good reply, and of a key that it does not know as of a bad request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import orjson

from extproc.mock.answer import IDENT, Answer, Asked, Speaker
from extproc.mock.faults import KINDS

CONTEXT, FILTER, QUOTA, KEY = KINDS

_WORDS: Mapping[tuple[str, str], str] = {
    ("anthropic_messages", CONTEXT): "prompt is too long: 210000 tokens > 200000 maximum",
    ("anthropic_messages", FILTER): "Output blocked by content filtering policy",
    ("bedrock_converse", CONTEXT): "Input is too long for requested model.",
    ("cohere_chat", CONTEXT): "too many tokens: size limit exceeded by 82000 tokens.",
    ("gemini_generate", CONTEXT): (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    ),
    ("gemini_generate", KEY): "API key not valid. Please pass a valid API key.",
}
_OPENAI: Mapping[str, tuple[str, str]] = {
    CONTEXT: (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in"
        " 210000 tokens. Please reduce the length of the messages.",
        "context_length_exceeded",
    ),
    FILTER: (
        "The response was filtered due to the prompt triggering the content management policy."
        " Please modify your prompt and retry.",
        "content_filter",
    ),
    QUOTA: (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
    ),
    KEY: ("Incorrect API key provided.", "invalid_api_key"),
}


def refusal(kind: str, asked: Asked, speaker: Speaker) -> Answer:
    """The answer of a provider that cannot, or will not, take this request."""
    if (speaker.name, kind) == ("gemini_generate", FILTER):
        return _blocked(asked)
    message, code = _OPENAI[kind]
    openai, google = speaker.name.startswith("openai_"), speaker.name == "gemini_generate"
    status = 400
    if kind == QUOTA:
        status = 429 if openai or google else 402
    elif kind == KEY and not google:
        status = 401
    answer = speaker.error(status, _WORDS.get((speaker.name, kind), message))
    if google and kind == KEY:
        return _explained(answer, "API_KEY_INVALID")
    if not openai:
        return answer
    body = cast("dict[str, dict[str, object]]", orjson.loads(answer.body))
    error = {**body["error"], "code": code}
    if kind == QUOTA:
        error["type"] = code
    return replace(answer, body=orjson.dumps({**body, "error": error}))


def _explained(answer: Answer, reason: str) -> Answer:
    """Google's error with a machine's word for it."""
    body = cast("dict[str, dict[str, object]]", orjson.loads(answer.body))
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    details = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return replace(answer, body=orjson.dumps({"error": {**body["error"], "details": details}}))


def _blocked(asked: Asked) -> Answer:
    said = orjson.dumps(
        {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
            "modelVersion": "gemini",
            "responseId": IDENT.decode(),
        }
    )
    if "alt=sse" in asked.path:
        return Answer(200, "text/event-stream", events=(b"data: " + said + b"\r\n\r\n",))
    streams = ":streamGenerateContent" in asked.path
    return Answer(200, "application/json; charset=UTF-8", b"[%b]" % said if streams else said)
