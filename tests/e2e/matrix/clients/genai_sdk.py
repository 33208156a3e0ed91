"""`google-genai`, generate_content. The SDK does not join streamed parts; this does, as its users do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from google import genai
from google.genai import errors, types

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import COMMON, Ask, Called, Failed, Heads, Medium, Result, Said, Talk


class GeminiClient:
    name: ClassVar[str] = "google-genai"
    dialect: ClassVar[str] = "gemini_generate"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "tool": "STOP",
        "refusal": "SAFETY",
    }
    can: ClassVar[frozenset[str]] = COMMON | {
        *("pictured result", "failed result", "document", "audio"),
        *("stop", "answers", "logprobs"),
    }

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        options = {
            "trust_env": False,
            "verify": gateway.trust,
            "event_hooks": self.last.hooks,
        }
        self.sdk = genai.Client(
            vertexai=False,
            api_key=gateway.key,
            http_options=types.HttpOptions(
                base_url=gateway.url, timeout=10_000, client_args=options
            ),
        )

    def talk(self, ask: Ask) -> GeminiTalk:
        return GeminiTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class GeminiTalk(Talk):
    def __init__(self, sdk: genai.Client, ask: Ask) -> None:
        self.sdk = sdk
        self._model = ask.model
        self._contents: list[Any] = []
        config: dict[str, Any] = {}
        if ask.system:
            config["system_instruction"] = ask.system
        if ask.tools:
            declared = [
                types.FunctionDeclaration(
                    name=tool.name, description=tool.about, parameters_json_schema=tool.schema
                )
                for tool in ask.tools
            ]
            config["tools"] = [types.Tool(function_declarations=declared)]
        if ask.force:
            calling = types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=[ask.force]
            )
            config["tool_config"] = types.ToolConfig(function_calling_config=calling)
        if ask.schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = dict(ask.schema)
        if ask.think:
            config["thinking_config"] = types.ThinkingConfig(
                include_thoughts=True, thinking_budget=1024
            )
        if ask.max_tokens is not None:
            config["max_output_tokens"] = ask.max_tokens
        if ask.stop:
            config["stop_sequences"] = list(ask.stop)
        if ask.answers > 1:
            config["candidate_count"] = ask.answers
        if ask.logprobs:
            config["response_logprobs"] = True
        self._config = types.GenerateContentConfig(**config)

    def user(self, text: str, medium: Medium | None = None) -> None:
        parts = [types.Part.from_text(text=text)]
        if medium is not None:
            parts.insert(0, types.Part.from_bytes(data=medium.data, mime_type=medium.type))
        self._contents.append(types.Content(role="user", parts=parts))

    def results(self, results: Sequence[Result]) -> None:
        parts = [types.Part(function_response=_response(result)) for result in results]
        self._contents.append(types.Content(role="user", parts=parts))

    def move(self, model: str) -> None:
        self._model = model

    def ask(self, *, stream: bool) -> Said:
        try:
            replies = self._streamed() if stream else [self._whole()]
        except errors.APIError as error:
            raise Failed(type(error).__name__, error.code, str(error), _delay(error)) from error
        parts, usage, finish, deltas, indexes, probable = [], None, None, 0, {0}, False
        for reply in replies:
            usage = reply.usage_metadata or usage
            for candidate in reply.candidates or ():
                indexes.add(candidate.index or 0)
                probable |= candidate.logprobs_result is not None
                if candidate.index:
                    continue
                finish = candidate.finish_reason or finish
                found = (candidate.content and candidate.content.parts) or []
                parts += found
                deltas += stream and sum(bool(part.text or part.function_call) for part in found)
            if reply.prompt_feedback and reply.prompt_feedback.block_reason:
                finish = types.FinishReason.SAFETY
        if parts:
            self._contents.append(types.Content(role="model", parts=_joined(parts)))
        text = "".join(part.text or "" for part in parts if not part.thought)
        word = finish.value if finish else ""
        return Said(
            text=text,
            calls=tuple(
                Called(
                    part.function_call.id or "",
                    part.function_call.name or "",
                    part.function_call.args or {},
                )
                for part in parts
                if part.function_call
            ),
            finish=word,
            thinking="".join(part.text or "" for part in parts if part.thought),
            refusal=text if word == "SAFETY" else "",
            usage=usage
            and (
                usage.prompt_token_count or 0,
                (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            ),
            deltas=deltas,
            answers=len(indexes),
            probable=probable,
        )

    def _whole(self) -> types.GenerateContentResponse:
        return self.sdk.models.generate_content(
            model=self._model, contents=self._contents, config=self._config
        )

    def _streamed(self) -> list[types.GenerateContentResponse]:
        return list(
            self.sdk.models.generate_content_stream(
                model=self._model, contents=self._contents, config=self._config
            )
        )


def _response(result: Result) -> types.FunctionResponse:
    parts = None
    if picture := result.picture:
        blob = types.FunctionResponseBlob(mime_type=picture.type, data=picture.data)
        parts = [types.FunctionResponsePart(inline_data=blob)]
    return types.FunctionResponse(
        id=result.call.id or None,
        name=result.call.name,
        response={"error" if result.failed else "output": result.text},
        parts=parts,
    )


def _joined(parts: list[types.Part]) -> list[types.Part]:
    """The parts with the pieces of one text put together; a signature ends its piece."""
    out: list[types.Part] = []
    for part in parts:
        last = out[-1] if out else None
        if (
            last is not None
            and last.text is not None
            and part.text is not None
            and (last.thought, last.thought_signature) == (part.thought, None)
        ):
            text = last.text + part.text
            out[-1] = part.model_copy(update={"text": text})
        else:
            out.append(part)
    return out


def _delay(error: errors.APIError) -> str:
    """What RetryInfo says, in seconds as a header would."""
    details: Any = error.details
    for detail in details.get("error", {}).get("details", ()) if isinstance(details, dict) else ():
        if "retryDelay" in detail:
            return str(detail["retryDelay"]).removesuffix("s")
    return ""
