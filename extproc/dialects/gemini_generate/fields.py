"""What a client of Gemini calls the canonical fields: where it writes them in its body.

Who uses Google's SDK writes them in snake case; the API's reference has them as here.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.fields import Field

_CONFIG = "generationConfig."
_THINKING = _CONFIG + "thinkingConfig."
_PARTS = "contents.parts"

FIELD_NAMES: Mapping[str, str] = {
    Field.TEMPERATURE: _CONFIG + "temperature",
    Field.TOP_P: _CONFIG + "topP",
    Field.TOP_K: _CONFIG + "topK",
    Field.MAX_TOKENS: _CONFIG + "maxOutputTokens",
    Field.STOP: _CONFIG + "stopSequences",
    Field.SEED: _CONFIG + "seed",
    Field.FREQUENCY_PENALTY: _CONFIG + "frequencyPenalty",
    Field.PRESENCE_PENALTY: _CONFIG + "presencePenalty",
    Field.N: _CONFIG + "candidateCount",
    Field.LOGPROBS: _CONFIG + "responseLogprobs",
    Field.TOP_LOGPROBS: _CONFIG + "logprobs",
    Field.METADATA: "labels",
    Field.SERVICE_TIER: "serviceTier",
    Field.EFFORT: _THINKING + "thinkingLevel",
    Field.BUDGET: _THINKING + "thinkingBudget",
    Field.SUMMARY: _THINKING + "includeThoughts",
    Field.OUTPUT: _CONFIG + "responseMimeType",
    Field.TOOL_CHOICE: "toolConfig.functionCallingConfig",
    Field.SYSTEM: "systemInstruction",
    Field.ROLES: "contents.role",
    Field.FIRST: "contents.role",
    Field.CONTENT: _PARTS,
    Field.FILE_ID: _PARTS + ".fileData.fileUri",
    Field.THINKING: _PARTS + ".thought",
    Field.RESULT: _PARTS + ".functionResponse",
    Field.RESULT_MEDIA: _PARTS + ".functionResponse.parts",
    Field.IS_ERROR: _PARTS + ".functionResponse.response.error",
    Field.INPUT: "content",
    Field.INPUT_TYPE: "taskType",
    Field.DIMENSIONS: "outputDimensionality",
}
"""pictures, sounds and documents are all one member here, so these keep their own names"""
