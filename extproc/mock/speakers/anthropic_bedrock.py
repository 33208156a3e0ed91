"""Claude behind Bedrock's InvokeModel: Anthropic's language, and AWS's own for whatever goes wrong."""

from __future__ import annotations

from typing import cast

import orjson

from extproc.mock.answer import Answer, Asked
from extproc.mock.speakers import anthropic_messages, bedrock_converse


class OnBedrock:
    """Speaker of `/model/{Claude}/invoke` and `/invoke-with-response-stream`."""

    name = "anthropic_bedrock"

    def claims(self, path: str) -> bool:
        """The paths of InvokeModel for Anthropic's models."""
        return anthropic_messages.invoked(path)

    def answer(self, asked: Asked) -> Answer:
        """Anthropic's reply, or AWS's refusal."""
        answer = anthropic_messages.SPEAKER.answer(asked)
        if answer.status < 400:
            return answer
        said = cast("dict[str, dict[str, str]]", orjson.loads(answer.body))
        return self.error(answer.status, said["error"]["message"])

    def error(self, status: int, message: str) -> Answer:
        """AWS's envelope."""
        return bedrock_converse.SPEAKER.error(status, message)

    def error_event(self) -> bytes:
        """An exception's frame."""
        return bedrock_converse.SPEAKER.error_event()


SPEAKER = OnBedrock()
