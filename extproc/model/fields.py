"""The names of what a request may hold, in one vocabulary, for saying what became of it.

A renderer that cannot carry something names it by one of these; the client is told
in its own words (`Dialect.field_names`), or in these where it has none.
"""

from __future__ import annotations

from enum import StrEnum


class Field(StrEnum):
    """A canonical field. The value is what a client reads whose language has no name for it."""

    # settings of a chat
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    MAX_TOKENS = "max_tokens"
    STOP = "stop"
    SEED = "seed"
    FREQUENCY_PENALTY = "frequency_penalty"
    PRESENCE_PENALTY = "presence_penalty"
    N = "n"
    LOGPROBS = "logprobs"
    TOP_LOGPROBS = "top_logprobs"
    LOGIT_BIAS = "logit_bias"
    USER = "user"
    CONVERSATION = "x-sluice-conversation"
    """the name under which the gateway remembers earlier turns"""
    FORMAT = "x-sluice-format"
    METADATA = "metadata"
    SERVICE_TIER = "service_tier"
    STORE = "store"
    CACHE_KEY = "prompt_cache_key"
    CACHE_RETENTION = "prompt_cache_retention"
    VERBOSITY = "verbosity"
    SAFETY_IDENTIFIER = "safety_identifier"
    EFFORT = "reasoning.effort"
    BUDGET = "reasoning.budget"
    SUMMARY = "reasoning.summary"
    OUTPUT = "response_format"
    OUTPUT_DESCRIPTION = "response_format.description"
    # tools
    TOOLS = "tools"
    STRICT = "tools.strict"
    TOOL_CHOICE = "tool_choice"
    PARALLEL_TOOLS = "parallel_tool_calls"
    # messages
    MODEL = "model"
    SYSTEM = "system"
    """its place, or that it stands apart from the conversation"""
    ROLES = "messages.role"
    """who says what, where turns become plain words"""
    NAME = "messages.name"
    FIRST = "messages.first"
    """that the assistant speaks first"""
    CONTENT = "messages.content"
    """a part that only one language knows"""
    IMAGE = "image"
    DETAIL = "image.detail"
    AUDIO = "audio"
    DOCUMENT = "document"
    FILE_ID = "file_id"
    THINKING = "thinking"
    """a thought in the conversation so far, or its signature"""
    CITATIONS = "citations"
    REFUSAL = "refusal"
    CACHE = "cache"
    RESULT = "tool_result"
    RESULT_MEDIA = "tool_result.media"
    IS_ERROR = "tool_result.is_error"
    # embeddings and rankings
    INPUT = "input"
    INPUT_TYPE = "input_type"
    DIMENSIONS = "dimensions"
    QUERY = "query"
    DOCUMENTS = "documents"
    TOP_N = "top_n"
