"""The environment's own words: variables that work without being named in the file.

Puts them into the tree of nodes before it is checked, so that a variable is
judged by the same table as a key. The environment overrides the file for the
server and the stages' blocks. For providers it gives what the file leaves out:
an endpoint, a key, and all of them when there is no `providers:` block.
An empty variable counts as one that is not set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from extproc.config.catalogue import KNOWN, Known, find
from extproc.config.errors import ENVIRONMENT, Place, nearest, quoted
from extproc.config.findings import Findings
from extproc.config.nodes import Entry, Kind, List, Map, Node, Scalar

PLACE = Place(ENVIRONMENT)

ALL_PROVIDERS = "ALL_PROVIDERS"

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "LLM_GATEWAY_HOST": ("server", "host"),
    "LLM_GATEWAY_PORT": ("server", "port"),
    "SENSITIVE_KEYWORDS": ("security", "sensitive_keywords"),
    "SENSITIVITY_THRESHOLD": ("security", "sensitivity_threshold"),
    "SECURE_ONLY_MODELS": ("security", "secure_only_models"),
    "CACHE_MAX_SIZE": ("cache", "max_size"),
    "CACHE_DEFAULT_TTL": ("cache", "default_ttl"),
    "CACHE_CLEANUP_INTERVAL": ("cache", "cleanup_interval"),
    "RATE_LIMIT_REQUESTS_PER_MINUTE": ("rate_limiting", "default", "requests_per_minute"),
    "RATE_LIMIT_REQUESTS_PER_HOUR": ("rate_limiting", "default", "requests_per_hour"),
    "RATE_LIMIT_TOKENS_PER_MINUTE": ("rate_limiting", "default", "tokens_per_minute"),
    "RATE_LIMIT_BURST_LIMIT": ("rate_limiting", "default", "burst_limit"),
    "RATE_LIMIT_COOLDOWN_SECONDS": ("rate_limiting", "default", "cooldown_seconds"),
}
"""variable -> the key that it overrides"""

_OWN = frozenset({"api_key", "api_keys", "endpoint"})
"""keys of a provider's block that keep the environment's key away"""

LISTS = frozenset({"SENSITIVE_KEYWORDS", "SECURE_ONLY_MODELS"})
"""variables that hold a list, with commas between"""


def overlay(root: Map, env: Mapping[str, str], found: Findings) -> Map:
    """The tree with the environment's words in it."""
    for name, path in VARIABLES.items():
        if env.get(name, "").strip():
            root = _put(root, path, _node(name, env[name]))
    entry = root.entries.get("providers")
    if entry is None:
        providers = Map({name: _entry(Map({}, PLACE)) for name in _named(env)}, PLACE)
        entry = _entry(providers)
    elif not isinstance(entry.value, Map):
        return root
    else:
        providers = entry.value
    chosen = _chosen(providers, env, found)
    completed = {name: Entry(one.place, _complete(name, one.value, env)) for name, one in chosen}
    value = Map(completed, providers.place)
    return Map({**root.entries, "providers": Entry(entry.place, value)}, root.place)


def _node(name: str, text: str) -> Node:
    if name not in LISTS:
        return _scalar(name, text)
    words = [_scalar(name, word) for word in text.split(",") if word.strip()]
    return List(tuple(words), PLACE, name)


def _scalar(variable: str, text: str) -> Scalar:
    return Scalar(text.strip().replace("$", "$$"), Kind.TEXT, PLACE, variable)


def _entry(value: Node) -> Entry:
    return Entry(PLACE, value)


def _put(root: Map, path: tuple[str, ...], node: Node) -> Map:
    """The tree with `node` at `path`. Where the file has no map on the way, the file's error stands."""
    key, *rest = path
    old = root.entries.get(key)
    if not rest:
        entry = Entry(old.place if old else PLACE, node)
        return Map({**root.entries, key: entry}, root.place)
    inner = old.value if old is not None else Map({}, PLACE)
    if isinstance(inner, Scalar) and inner.kind is Kind.NOTHING:
        inner = Map({}, inner.place)
    if not isinstance(inner, Map):
        return root
    entry = Entry(old.place if old else PLACE, _put(inner, tuple(rest), node))
    return Map({**root.entries, key: entry}, root.place)


def _set(names: Iterable[str], env: Mapping[str, str]) -> str | None:
    return next((name for name in names if env.get(name, "").strip()), None)


def _asked(env: Mapping[str, str]) -> list[str]:
    words = (word.strip() for word in env.get(ALL_PROVIDERS, "").split(","))
    return [word for word in dict.fromkeys(words) if word]


def _named(env: Mapping[str, str]) -> list[str]:
    """The providers that the environment has variables for."""
    asked = _asked(env)
    names = [one.name for one in KNOWN.values() if not one.by_name_only or one.name in asked]
    return [name for name in names if _is_set_up(KNOWN[name], env)]


def _is_set_up(known: Known, env: Mapping[str, str]) -> bool:
    endpoint = known.endpoint_variable
    if endpoint is not None and env.get(endpoint, "").strip():
        return True
    if known.needs:
        return all(_set(known.variables[key], env) is not None for key in known.needs)
    return known.endpoint is not None and _set(known.key_variables, env) is not None


def _chosen(providers: Map, env: Mapping[str, str], found: Findings) -> Iterable[tuple[str, Entry]]:
    """What ALL_PROVIDERS leaves of them, in its order; all when it is not set."""
    asked = _asked(env)
    if not asked:
        return list(providers.entries.items())
    for name in asked:
        if name not in providers.entries and name not in KNOWN:
            known = [*KNOWN, *providers.entries]
            message = (
                f"found the unknown provider {quoted(name)}, expected names with commas between"
            )
            found.of_variable(ALL_PROVIDERS, message, nearest(name, known))
    found.left_out.update(name for name in providers.entries if name not in asked)
    return [(name, providers.entries[name]) for name in asked if name in providers.entries]


def _complete(name: str, node: Node, env: Mapping[str, str]) -> Node:
    """A known provider's block with the endpoint, the key and what else it leaves out.

    A key that stands in the environment goes to the provider's own endpoint
    alone: never to one that the file names.
    """
    known = find(name)
    if isinstance(node, Scalar) and node.kind is Kind.NOTHING:
        node = Map({}, node.place)
    if known is None or not isinstance(node, Map):
        return node
    entries = dict(node.entries)
    regional = "regions" in entries
    for key, variables in known.variables.items():
        name_of_it = _set(variables, env)
        if (
            key in entries
            or (regional and key == "region")
            or (name_of_it is None and key not in known.needs)
        ):
            continue
        entries[key] = _reference(name_of_it or variables[0])
    if "endpoint" not in entries and not regional and known.endpoint_variable is not None:
        variable = _set((known.endpoint_variable,), env)
        if variable is not None:
            entries["endpoint"] = _entry(_scalar(variable, env[variable]))
    variable = _set(known.key_variables, env)
    if variable is None and known.key_needed:
        variable = next(iter(known.key_variables), None)
    own = _OWN & node.entries.keys() or _in_regions(node)
    if not own and _by_key(node) and variable is not None:
        entries["api_key"] = _reference(variable)
    return Map(entries, node.place, node.variable)


def _in_regions(provider: Map) -> bool:
    """Whether one of its regions has a key or an endpoint of its own."""
    entry = provider.entries.get("regions")
    regions = entry.value.items if entry is not None and isinstance(entry.value, List) else ()
    return any(isinstance(one, Map) and _OWN & one.entries.keys() for one in regions)


def _reference(variable: str) -> Entry:
    return _entry(Scalar(f"${{{variable}}}", Kind.TEXT, PLACE, variable))


def _by_key(provider: Map) -> bool:
    """Whether nothing says that requests are signed without a key."""
    entry = provider.entries.get("auth")
    return entry is None or (isinstance(entry.value, Scalar) and entry.value.text == "api_key")
