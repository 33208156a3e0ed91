"""Every client of the matrix: one real SDK a file.

Each talks to the gateway as its user would to the provider: base URL, alice's key
and nothing else. Retries of the SDK's own are off, so that one question is one
exchange.
"""

from tests.e2e.matrix.clients.anthropic_sdk import AnthropicClient
from tests.e2e.matrix.clients.boto3_sdk import BedrockClient
from tests.e2e.matrix.clients.cohere_sdk import CohereClient
from tests.e2e.matrix.clients.completions_sdk import CompletionsClient
from tests.e2e.matrix.clients.genai_sdk import GeminiClient
from tests.e2e.matrix.clients.ollama_sdk import OllamaClient
from tests.e2e.matrix.clients.openai_sdk import ChatClient
from tests.e2e.matrix.clients.plain_http import SimpleClient
from tests.e2e.matrix.clients.responses_sdk import ResponsesClient

CLIENTS = (
    ChatClient,
    ResponsesClient,
    AnthropicClient,
    GeminiClient,
    BedrockClient,
    OllamaClient,
    CohereClient,
    CompletionsClient,
    SimpleClient,
)
"""in the order of the table's rows"""
