"""The language of a provider's block. What its keys mean together is `providers.py`'s."""

from __future__ import annotations

from extproc.config.catalogue import VARIANTS
from extproc.config.schema import SecurityLevel
from extproc.config.shapes import (
    Block,
    Choice,
    Duration,
    Either,
    Field,
    FileName,
    Flag,
    ListOf,
    Number,
    SecretText,
    Table,
    Text,
)
from extproc.config.texts import (
    FILE,
    HOST,
    MODEL,
    NAME,
    PATTERN,
    REGION,
    endpoint_problem,
    proxy_problem,
)
from extproc.model.call import OnLossy

AUTH_WORDS = ("api_key", "aws", "azure", "google", "none")
MOST_HEADERS = 20

_DIALECT = Text("a dialect")
_ID = Text("letters, digits and `-`", pattern=r"[0-9A-Za-z][0-9A-Za-z-]{0,99}")
_TOKENS = Number(low=1, high=10**9)

_TLS = Block(
    {
        "ca": Field(FILE, "PEM file of the authorities to trust", "the system's"),
        "cert": Field(FILE, "PEM file of our own certificate, when the provider asks for one"),
        "key": Field(FILE, "PEM file of its private key"),
        "sni": Field(
            Text("a host name", pattern=HOST),
            "name to ask for and to verify",
            "the endpoint's host",
        ),
    }
)

_API_KEY = Block(
    {
        "key": Field(
            SecretText(soft=True), "the secret: `${VAR}`, or `{file: path}`", required=True
        ),
        "name": Field(
            Text("a name", pattern=NAME), "what logs and explanations call it", "its number, from 1"
        ),
        "weight": Field(
            Number(above=0, high=10**6, whole=False), "its share, beside the other keys", "1"
        ),
    }
)

_AWS = Block(
    {
        "role_arn": Field(
            Text(
                "the ARN of a role",
                pattern=r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[0-9A-Za-z_+=,.@/-]+",
            ),
            "role to take on, starting from the keys that AWS's variables name",
        ),
        "session_name": Field(
            Text(
                "2 to 64 letters, digits and any of `_+=,.@-`", pattern=r"[0-9A-Za-z_+=,.@-]{2,64}"
            ),
            "what AWS's logs call our session of that role",
            "sluice",
        ),
        "external_id": Field(SecretText(soft=True), "what the owner of the role asks us to say"),
        "web_identity_token_file": Field(
            FileName(), "token to take on the role with, in place of keys; read anew each time"
        ),
    }
)

_AZURE = Block(
    {
        "tenant": Field(
            Text("the id or domain of a tenant", pattern=r"[0-9A-Za-z][0-9A-Za-z.-]{0,252}"),
            "where the application is registered; left out: a managed identity",
        ),
        "client_id": Field(_ID, "the application, or one of several managed identities"),
        "client_secret": Field(
            SecretText(soft=True), "the application's secret: `${VAR}`, or `{file: path}`"
        ),
        "token_file": Field(
            FileName(), "federated token in place of a secret; read anew each time"
        ),
    }
)

_GOOGLE = Block(
    {
        "credentials_file": Field(
            FILE,
            "key file of a service account; read anew each time",
            "GOOGLE_APPLICATION_CREDENTIALS, or the machine's own account",
        )
    }
)

_AUTH = Block(
    {
        "aws": Field(_AWS, "Signature Version 4; without a role, with what AWS's variables name"),
        "azure": Field(_AZURE, "a token of Entra, in place of Azure's key"),
        "google": Field(_GOOGLE, "a token of Google Cloud"),
    },
    one_of=("aws", "azure", "google"),
)

_CAPABILITIES = Block(
    {
        "tools": Field(Flag(), "it can call tools"),
        "vision": Field(Flag(), "it can see images"),
        "json_schema": Field(Flag(), "it can keep to a JSON schema"),
        "reasoning": Field(Flag(), "it can think before it answers"),
        "adaptive_thinking": Field(Flag(), "it decides how much to think (newer Claude)"),
        "system_in_messages": Field(Flag(), "it takes system messages mid-way (newer Claude)"),
        "max_output": Field(_TOKENS, "most tokens of an answer"),
        "context": Field(_TOKENS, "most tokens of question and answer together"),
        "embedding": Field(Flag(), "it makes vectors, and no text"),
    }
)

_DOLLARS = Number(low=0, high=10**6, whole=False)
_PRICE = {
    "input": Field(_DOLLARS, "US dollars for a million tokens of the prompt", required=True),
    "output": Field(
        _DOLLARS, "for a million tokens of the answer, reasoning included", required=True
    ),
    "cache_read": Field(_DOLLARS, "for a million that a cache has already", "that of input"),
    "cache_write": Field(_DOLLARS, "for a million that a cache takes up", "that of input"),
    "cache_write_1h": Field(
        _DOLLARS, "for a million that a cache keeps for an hour", "that of cache_write"
    ),
}
_PRICES = Block(
    {
        **_PRICE,
        "long": Field(
            Block(
                {"above": Field(_TOKENS, "so many tokens of the prompt", required=True), **_PRICE}
            ),
            "what all tokens cost where the prompt has more than `above`",
            "the same",
        ),
    }
)

_PROBE = Block(
    {
        "exchange": Field(
            Flag(),
            "ask it through Envoy for its list of models, which costs no token, and leave its "
            "targets alone by what it says; false: connect to its host",
            required=True,
        ),
        "interval": Field(Duration(high=3600), "between two such exchanges", "4"),
        "timeout": Field(Duration(high=60), "for its whole answer", "2"),
        "failures": Field(
            Number(1, 100), "so many in a row, and the breakers of its targets open", "2"
        ),
        "path": Field(
            Text("a path such as /models, of printable ASCII", pattern=r'/[!-"$-~]{0,1000}'),
            "what to ask for in its place, with GET, below its endpoint",
            "where its dialect has the list; bedrock and vertex have none",
        ),
    }
)

_ENDPOINT = Text(
    "an http:// or https:// URL without user name, query and fragment",
    problem=endpoint_problem,
    quiet=True,
    soft=True,
)
_REGION = Text("the name of a region", pattern=REGION, soft=True)
_PROJECT = Text("the id of a project", pattern=r"[a-z0-9][a-z0-9.:-]{0,99}", soft=True)
_VERSION = Text("letters, digits, `.` and `-`", pattern=r"[0-9A-Za-z][0-9A-Za-z.-]{0,39}")
_KEYS = ListOf(Either(SecretText(soft=True), _API_KEY), 1)
_HEADERS = Table(
    Text(
        "printable ASCII without blanks at its ends",
        pattern=r"[!-~]([ -~]{0,4094}[!-~])?",
        quiet=True,
        soft=True,
    ),
    r"[0-9A-Za-z!#$%&'*+.^_`|~-]{1,100}",
    "the name of a header",
    at_most=MOST_HEADERS,
)
_PROXY = Text("host:port", problem=proxy_problem, quiet=True)

_PLACE = Text("a region's name of lower-case letters, digits and `-`", pattern=REGION)
_ONE_OF_SEVERAL = Block(
    {
        "name": Field(
            _PLACE,
            "what logs, explanations and targets (`provider@region/model`) call it",
            required=True,
        ),
        "weight": Field(
            Number(above=0, high=10**6, whole=False), "its share, beside the other regions", "1"
        ),
        "endpoint": Field(
            _ENDPOINT,
            "base URL of the API there; needed, but of AWS and Vertex",
            "the region's own host",
        ),
        "region": Field(_REGION, "region of AWS, location of Vertex", "its name"),
        "project": Field(_PROJECT, "project of Vertex", "the provider's"),
        "api_version": Field(_VERSION, "as of the provider", "the provider's"),
        "api_key": Field(SecretText(soft=True), "its secret", "the provider's"),
        "api_keys": Field(_KEYS, "several secrets in its place", "the provider's"),
        "auth": Field(
            Either(Choice(AUTH_WORDS), _AUTH), "how requests are signed", "the provider's"
        ),
        "headers": Field(_HEADERS, "headers of every request, in place of the provider's"),
        "tls": Field(_TLS, "how to verify it, and how to prove ourselves", "the provider's"),
        "proxy": Field(_PROXY, "`host:port` of an HTTP proxy to go through", "the provider's"),
    }
)

PROVIDER = Block(
    {
        "dialect": Field(
            Either(_DIALECT, ListOf(_DIALECT, 1)),
            "the wire language that it speaks; of several, the first in which it serves the model, "
            "unless a client speaks another such one",
            "the known provider's",
        ),
        "variant": Field(
            Choice(tuple(VARIANTS)),
            "what differs from the dialect's own home: paths, headers, a few fields",
            "the known provider's",
        ),
        "endpoint": Field(
            _ENDPOINT,
            "base URL of its API, as its own SDK takes it",
            "the known provider's, or the region's",
        ),
        "region": Field(
            _REGION,
            "region of AWS, location of Vertex",
            "the known provider's variable; us-east-1 for AWS",
        ),
        "project": Field(
            _PROJECT,
            "project of Vertex",
            "the known provider's variable",
        ),
        "api_version": Field(
            _VERSION,
            "version of Azure's, Anthropic's or Gemini's API",
            "the dialect's",
        ),
        "api_key": Field(
            SecretText(soft=True),
            "its secret: `${VAR}`, or `{file: path}`",
            "the known provider's variable, unless `endpoint` is given",
        ),
        "api_keys": Field(
            _KEYS,
            "several secrets in its place, each a target of its own; one that is not set is done without",
        ),
        "auth": Field(
            Either(Choice(AUTH_WORDS), _AUTH),
            "how requests are signed",
            "api_key; without one aws and google for their own hosts, none elsewhere",
        ),
        "headers": Field(
            _HEADERS,
            "headers that every request to it carries, such as `anthropic-beta`",
        ),
        "on_lossy": Field(
            Choice(tuple(OnLossy)),
            "what becomes of a feature that its dialect cannot carry, where neither is plainly right",
            "drop",
        ),
        "capabilities": Field(
            Table(_CAPABILITIES, PATTERN.pattern or "", PATTERN.expected),
            "what models can do, by name, prefix ending in `*`, or `*`; the most exact says it",
            "what is known of well-known models",
        ),
        "models": Field(
            ListOf(PATTERN, 1),
            "what it serves: names, prefixes ending in `*`, or `*`",
            "the known provider's, and `model`",
        ),
        "model": Field(MODEL, "what it answers with when a caller names the provider alone"),
        "timeout": Field(Duration(), "for its whole answer, or the silence within a stream", "60"),
        "security_level": Field(
            Choice(tuple(SecurityLevel)),
            "how sensitive a prompt it may see",
            "the known provider's, or medium",
        ),
        "cost_per_token": Field(
            Number(low=0, high=1000, whole=False),
            "price of each token of any model, in US dollars, where `prices` says nothing",
            "the catalogue's prices, of those who sell at them; 0 of vllm, llamacpp and Ollama",
        ),
        "prices": Field(
            Table(_PRICES, PATTERN.pattern or "", PATTERN.expected),
            "what models cost, by name, prefix ending in `*`, or `*`; the most exact one counts, whole",
            "cost_per_token",
        ),
        "tls": Field(_TLS, "how to verify it, and how to prove ourselves"),
        "proxy": Field(
            _PROXY,
            "`host:port` of an HTTP proxy to go through; https endpoints only",
        ),
        "probe": Field(
            Either(Flag(), _PROBE),
            "connect to its host every few seconds, to know its status; never through a proxy",
            "true",
        ),
        "regions": Field(
            ListOf(Either(_PLACE, _ONE_OF_SEVERAL), 1),
            "several regions of it, each with its own host and a target of its own: of AWS and Vertex the "
            "names are enough, else each has its `endpoint:`",
        ),
    }
)
