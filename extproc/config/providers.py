"""What a provider's block means, with what the catalogue knows of its name.

Takes checked values, gives a `Provider`; notes what is wrong with it in
`Findings`, and says in `unavailable` what it still lacks to be used. Pure.
"""

from __future__ import annotations

from msgspec import Struct

from extproc.config import auth
from extproc.config.api_keys import KeyDrafts, several
from extproc.config.auth import AuthDraft
from extproc.config.catalogue import (
    ANTHROPIC_VERSION,
    AWS_REGION,
    DIALECTS,
    KNOWN,
    VARIANTS,
    VERSIONED,
    Known,
    find,
    home,
    listing,
    matches,
)
from extproc.config.errors import listed, nearest, quoted
from extproc.config.findings import Findings, spell
from extproc.config.schema import (
    Auth,
    AwsAuth,
    Probing,
    Provider,
    ProviderTls,
    Secret,
    SecurityLevel,
)
from extproc.model.call import Capabilities, OnLossy, Price

UNSET_ENDPOINT = "http://unset.invalid"
"""endpoint of a provider whose own is missing; `.invalid` never resolves (RFC 6761)"""

_OURS = "the gateway writes it"
_TAKEN = {
    "authorization": "`api_key:` and `auth:` make it",
    "anthropic-version": "`api_version:` makes it",
    "accept-encoding": _OURS,
    "connection": _OURS,
    "content-encoding": _OURS,
    "content-length": _OURS,
    "content-type": _OURS,
    "expect": _OURS,
    "host": _OURS,
    "keep-alive": _OURS,
    "te": _OURS,
    "trailer": _OURS,
    "transfer-encoding": _OURS,
    "upgrade": _OURS,
}
_TAKEN_PREFIXES = ("x-sluice-", "x-envoy-", "proxy-")


class ProbeDraft(Probing, frozen=True, kw_only=True):
    """The long form of `probe:`."""

    exchange: bool = False


class Way(Struct, frozen=True, kw_only=True):
    """What a provider's regions may differ in, as the file gives it."""

    endpoint: str | None = None
    region: str | None = None
    project: str | None = None
    api_version: str | None = None
    api_key: Secret | None = None
    api_keys: KeyDrafts = ()
    auth: str | AuthDraft | None = None
    headers: dict[str, Secret] = {}
    tls: ProviderTls | None = None
    proxy: str | None = None


class RegionDraft(Way, frozen=True, kw_only=True):
    name: str = ""
    weight: float = 1.0


class ProviderDraft(Way, frozen=True, kw_only=True):
    """A provider as the file gives it."""

    dialect: str | tuple[str, ...] | None = None
    variant: str | None = None
    regions: tuple[str | RegionDraft, ...] = ()
    on_lossy: OnLossy = OnLossy.DROP
    capabilities: dict[str, Capabilities] = {}
    model: str | None = None
    models: tuple[str, ...] = ()
    timeout: float = 60.0
    security_level: SecurityLevel | None = None
    cost_per_token: float | None = None
    prices: dict[str, Price] = {}
    probe: bool | ProbeDraft = True

    @property
    def dialects(self) -> tuple[str, ...]:
        if self.dialect is None:
            return ()
        return (self.dialect,) if isinstance(self.dialect, str) else self.dialect


def has_regions(
    path: tuple[str, str], draft: ProviderDraft, known: Known | None, found: Findings
) -> bool:
    """Whether a region's name says where its host is, or how requests to it are signed."""
    spoken = draft.dialects or (known.dialects if known else ())
    return _variant(path, draft, spoken, known, found) in ("vertex", "bedrock") or _is_aws(draft)


def provider(
    name: str, draft: ProviderDraft, found: Findings, dialects: frozenset[str] | None
) -> Provider:
    """The provider with what the catalogue knows of it. Errors are noted, not raised."""
    known = find(name)
    path = ("providers", name)
    _dialects(path, draft, found, dialects)
    spoken = draft.dialects or (known.dialects if known else ())
    variant = _variant(path, draft, spoken, known, found)
    region = draft.region
    if region is None and (variant == "bedrock" or _is_aws(draft)):
        region = AWS_REGION
    endpoint = _endpoint(name, draft, variant, region, known, found)
    _egress(path, endpoint, found)
    signed = auth.resolve(path, draft.auth, variant, endpoint, found)
    key, keys = several(path, draft.api_key, draft.api_keys, found)
    _details(path, spoken, variant, signed, found)
    level = draft.security_level or (known.security_level if known else SecurityLevel.MEDIUM)
    return Provider(
        name=name,
        dialect=spoken[0] if spoken else "",
        also=spoken[1:],
        variant=variant,
        endpoint=endpoint,
        api_version=_api_version(path, draft, spoken, variant, endpoint, found),
        project=draft.project,
        region=region,
        headers=_headers(path, draft, found),
        on_lossy=draft.on_lossy,
        capabilities=draft.capabilities,
        auth=signed,
        api_key=key,
        api_keys=keys,
        model=draft.model,
        models=_models(draft, known),
        timeout=draft.timeout,
        security_level=level,
        cost_per_token=draft.cost_per_token,
        prices=draft.prices,
        tls=draft.tls,
        proxy=draft.proxy,
        probe=draft.probe is not False,
        probing=_probing(path, draft.probe, spoken, variant, found),
        unavailable=_unavailable(path, spoken, variant, found, dialects, keyed=bool(key or keys)),
    )


def _dialects(
    path: tuple[str, str], draft: ProviderDraft, found: Findings, dialects: frozenset[str] | None
) -> None:
    names = DIALECTS | (dialects or frozenset())
    place = (*path, "dialect")
    listing = isinstance(draft.dialect, tuple)
    alone = [(place, one) for one in draft.dialects]
    earlier: list[str] = []
    for at, dialect in found.items(place, draft.dialects) if listing else alone:
        if dialect not in names:
            message = (
                f"found the unknown dialect {found.shown(at)}, expected {listed(sorted(names))}"
            )
            found.at(at, message, nearest(dialect, names))
        elif dialect in earlier:
            found.at(at, f"found {found.shown(at)} a second time, expected it once")
        earlier.append(dialect)


def _variant(
    path: tuple[str, str],
    draft: ProviderDraft,
    spoken: tuple[str, ...],
    known: Known | None,
    found: Findings,
) -> str:
    """The variant that is asked for, or that goes without saying."""
    if draft.variant is None:
        usual = known.variant if known else ""
        usual = usual or ("bedrock" if "bedrock_converse" in spoken else "")
        return usual if usual and VARIANTS[usual].keys() >= set(spoken) else ""
    of = VARIANTS[draft.variant]
    foreign = [dialect for dialect in spoken if dialect in DIALECTS and dialect not in of]
    if foreign:
        message = f"found {draft.variant} with the dialect {foreign[0]}, expected {listed(sorted(of))} with it"
        found.at((*path, "variant"), message)
    return draft.variant


def _is_aws(draft: ProviderDraft) -> bool:
    return draft.auth == "aws" or (isinstance(draft.auth, AuthDraft) and draft.auth.aws is not None)


def _endpoint(
    name: str,
    draft: ProviderDraft,
    variant: str,
    region: str | None,
    known: Known | None,
    found: Findings,
) -> str:
    """Its base URL; UNSET_ENDPOINT where there is none, and that is noted.

    Azure's ends in `/openai` for the paths of deployments, which need `api_version`, and in
    `/openai/v1` for those that are OpenAI's own.
    """
    path = ("providers", name)
    default = home(variant, region) if region is not None else None
    regional = home(variant, AWS_REGION) is not None
    if default is None and not regional and known and "{" not in (known.endpoint or ""):
        default = known.endpoint
    introduce(name, default is not None or regional, known, found)
    if (*path, "endpoint") in found.missing:
        return UNSET_ENDPOINT
    endpoint = (draft.endpoint or default or UNSET_ENDPOINT).rstrip("/")
    if variant != "azure" or endpoint == UNSET_ENDPOINT:
        return endpoint
    base = endpoint if endpoint.endswith(("/openai", "/openai/v1")) else f"{endpoint}/openai"
    by_model = draft.api_version is None and not base.endswith("/v1")
    return f"{base}/v1" if by_model else base


def introduce(name: str, has_default: bool, known: Known | None, found: Findings) -> None:
    """A provider must say what its name does not."""
    path = ("providers", name)
    missing = not has_default and not found.has(*path, "endpoint")
    if known is not None:
        if missing:
            message = "`endpoint:` is missing, expected a URL: each customer has their own here"
            found.of_key(path, message)
        return
    lacks = ["dialect"] * (not found.has(*path, "dialect")) + ["endpoint"] * missing
    if lacks:
        needs = " and ".join(f"`{key}:`" for key in lacks)
        message = (
            f"{quoted(name)} is not a provider known by name, so it needs {needs}; "
            f"known names are {listed(KNOWN)}"
        )
        found.of_key(path, message, nearest(name, KNOWN))


def _egress(path: tuple[str, str], endpoint: str, found: Findings) -> None:
    for key in ("proxy", "tls"):
        if found.has(*path, key) and endpoint.startswith("http:") and endpoint != UNSET_ENDPOINT:
            found.at(
                (*path, key), f"found `{key}:` with an http endpoint, expected an https endpoint"
            )
    for one, other in (("cert", "key"), ("key", "cert")):
        if found.has(*path, "tls", one) and not found.has(*path, "tls", other):
            found.at((*path, "tls"), f"found `{one}:` alone, expected `{other}:` with it")


def _details(
    path: tuple[str, str], spoken: tuple[str, ...], variant: str, signed: Auth, found: Findings
) -> None:
    """What a file gives must mean something; the environment may say more than is needed."""
    regional = variant in ("vertex", "bedrock") or isinstance(signed, AwsAuth)
    versioned = variant == "azure" or not VERSIONED.isdisjoint(spoken)
    uses = {
        "region": (regional, "`variant: vertex`, `variant: bedrock` or `auth: aws`"),
        "project": (variant == "vertex", "`variant: vertex`"),
        "api_version": (versioned, f"`variant: azure`, {listed(sorted(VERSIONED))}"),
    }
    for key, (used, by) in uses.items():
        at = (*path, key)
        if not used and found.has(*at) and found.places[at].variable is None:
            found.at(at, f"found `{key}:`, which nothing here uses, expected it with {by}")


def _api_version(
    path: tuple[str, str],
    draft: ProviderDraft,
    spoken: tuple[str, ...],
    variant: str,
    endpoint: str,
    found: Findings,
) -> str | None:
    at = (*path, "api_version")
    if draft.api_version is None:
        return ANTHROPIC_VERSION if "anthropic_messages" in spoken and not variant else None
    from_environment = found.has(*at) and found.places[at].variable is not None
    # The SDK's variable holds a dated version, which Azure's v1 paths refuse.
    return None if from_environment and endpoint.endswith("/v1") else draft.api_version


def _headers(path: tuple[str, str], draft: ProviderDraft, found: Findings) -> dict[str, Secret]:
    headers: dict[str, Secret] = {}
    for written, value in draft.headers.items():
        name, at = written.lower(), (*path, "headers", written)
        taken = _TAKEN.get(name) or (_OURS if name.startswith(_TAKEN_PREFIXES) else None)
        if taken is not None:
            found.of_key(at, f"found the header {quoted(name)}, expected another one: {taken}")
        elif name in headers:
            found.of_key(at, f"found the header {quoted(name)} a second time, expected it once")
        headers[name] = value
    return headers


def _probing(
    path: tuple[str, str],
    draft: bool | ProbeDraft,
    spoken: tuple[str, ...],
    variant: str,
    found: Findings,
) -> Probing | None:
    if isinstance(draft, bool) or not draft.exchange:
        return None
    if draft.path is None and spoken and listing(spoken[0], variant) is None:
        where = f"the variant {variant}" if variant else f"the dialect {spoken[0]}"
        message = f"found `exchange: true` alone, expected `path:` with it: {where} has no list of models that is known"
        found.at((*path, "probe"), message)
    return Probing(
        interval=draft.interval,
        timeout=draft.timeout,
        failures=draft.failures,
        path=draft.path,
    )


def _models(draft: ProviderDraft, known: Known | None) -> tuple[str, ...]:
    own = (draft.model,) if draft.model is not None else ()
    if draft.models:
        patterns = draft.models
    else:
        patterns = known.models if known else ()
    return patterns + tuple(model for model in own if not matches(patterns, model))


def _unavailable(
    path: tuple[str, str],
    spoken: tuple[str, ...],
    variant: str,
    found: Findings,
    dialects: frozenset[str] | None,
    *,
    keyed: bool,
) -> str | None:
    """`keyed`: there is a key, so that none of `api_keys` is missed."""
    reasons = [
        f"{spell(key[2:])}: {lack}"
        for key, lack in found.missing.items()
        if key[:2] == path and not (keyed and key[2] == "api_keys")
    ]
    if variant == "vertex":
        lacks = (key for key in ("project", "region") if not found.has(*path, key))
        reasons += [f"{key}: not given, and vertex needs it" for key in lacks]
    primary = spoken[0] if spoken else ""
    if dialects is not None and primary in DIALECTS and primary not in dialects:
        reasons.append(f"dialect {primary} is not built in yet")
    return "; ".join(reasons) or None
