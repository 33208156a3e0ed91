"""What each client's users call the fields that the matrix sees lost, where that is not the field's own name.

Written from the SDKs' own pages and types, apart from the dialects' tables, which must agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.fields import Field

_CONFIG = "generationConfig"
_THINKING = f"{_CONFIG}.thinkingConfig"
_PARTS = "contents.parts"

WORDS: Mapping[str, Mapping[Field, str]] = {
    "openai_chat": {
        Field.EFFORT: "reasoning_effort",
        Field.STRICT: "tools.function.strict",
        Field.SYSTEM: "messages.role:system",
        Field.IMAGE: "image_url",
        Field.AUDIO: "input_audio",
        Field.DOCUMENT: "file",
        Field.THINKING: "reasoning_content",
    },
    "openai_responses": {
        Field.OUTPUT: "text.format",
        Field.LOGPROBS: "include",
        Field.SYSTEM: "instructions",
        Field.IMAGE: "input_image",
        Field.AUDIO: "input_audio",
        Field.DOCUMENT: "input_file",
        Field.THINKING: "input.reasoning",
        Field.CITATIONS: "annotations",
        Field.RESULT_MEDIA: "function_call_output.output",
    },
    "anthropic_messages": {
        Field.STOP: "stop_sequences",
        Field.OUTPUT: "output_config.format",
        Field.BUDGET: "thinking.budget_tokens",
        Field.RESULT_MEDIA: "tool_result.content",
    },
    "gemini_generate": {
        Field.STOP: f"{_CONFIG}.stopSequences",
        Field.N: f"{_CONFIG}.candidateCount",
        Field.LOGPROBS: f"{_CONFIG}.responseLogprobs",
        Field.OUTPUT: f"{_CONFIG}.responseMimeType",
        Field.EFFORT: f"{_THINKING}.thinkingLevel",
        Field.BUDGET: f"{_THINKING}.thinkingBudget",
        Field.SUMMARY: f"{_THINKING}.includeThoughts",
        Field.TOOL_CHOICE: "toolConfig.functionCallingConfig",
        Field.SYSTEM: "systemInstruction",
        Field.ROLES: "contents.role",
        Field.THINKING: f"{_PARTS}.thought",
        Field.RESULT_MEDIA: f"{_PARTS}.functionResponse.parts",
        Field.IS_ERROR: f"{_PARTS}.functionResponse.response.error",
    },
    "bedrock_converse": {
        Field.STOP: "inferenceConfig.stopSequences",
        Field.TOOLS: "toolConfig.tools",
        Field.TOOL_CHOICE: "toolConfig.toolChoice",
        Field.OUTPUT: "outputConfig.textFormat",
        Field.BUDGET: "additionalModelRequestFields.thinking.budget_tokens",
        Field.THINKING: "reasoningContent",
        Field.CITATIONS: "citationsContent",
        Field.RESULT_MEDIA: "toolResult.content",
        Field.IS_ERROR: "toolResult.status",
    },
    "ollama_chat": {
        Field.STOP: "options.stop",
        Field.OUTPUT: "format",
        Field.EFFORT: "think",
        Field.BUDGET: "think",
        Field.IMAGE: "messages.images",
        Field.THINKING: "messages.thinking",
    },
    "cohere_chat": {
        Field.STOP: "stop_sequences",
        Field.EFFORT: "thinking",
        Field.BUDGET: "thinking.token_budget",
        Field.IMAGE: "image_url",
    },
}


def in_words(client: str, field: Field) -> str:
    """What this client calls the field."""
    return WORDS.get(client, {}).get(field, field.value)
