"""What holds of errors in every dialect: who said it, and that a rate limit is no spent budget."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from extproc import discover
from extproc.model import errors as e
from extproc.model.dialect import Rendered, ReplyHead, WireReply
from extproc.model.reply import Failed
from tests.dialects.reading import drain

DIALECTS = discover.registry().dialects
PROVIDERS = sorted(name for name, one in DIALECTS.items() if one.speaks_to_providers)
CALL = "gw-00000000-0000-4000-8000-000000000001"
OURS: list[type[e.GatewayError]] = [
    e.InvalidRequest, e.Unsupported, e.ContextTooLong, e.ContentBlocked, e.Unauthenticated,
    e.BudgetSpent, e.PermissionDenied, e.NotFound, e.MethodNotAllowed, e.TooLarge, e.RateLimited,
    e.Internal, e.UpstreamBad, e.Overloaded, e.Timeout,
]  # fmt: skip


# --- what we say ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("origin", list(e.Origin))
def test_every_failure_says_whose_it_is(
    name: str, make: type[e.GatewayError], origin: e.Origin
) -> None:
    reply = DIALECTS[name].render_error(make("Look here.", origin=origin, retry_after=7), CALL)
    assert reply.headers["x-sluice-error-origin"] == origin.value
    assert 400 <= reply.status < 600
    assert reply.headers["retry-after"] == "7"
    assert "Look here." in str(json.loads(reply.body))


def test_all_kinds_of_errors_are_among_them() -> None:
    assert {make.kind for make in OURS} == set(e.Kind)


def _openai(reply: WireReply) -> tuple[str, ...]:
    error = json.loads(reply.body)["error"]
    return error["type"], error["code"], reply.headers.get("x-should-retry", "")


def _anthropic(reply: WireReply) -> tuple[str, ...]:
    return (json.loads(reply.body)["error"]["type"],)


def _gemini(reply: WireReply) -> tuple[str, ...]:
    error = json.loads(reply.body)["error"]
    kinds = {one["@type"].rpartition(".")[2]: one for one in error["details"]}
    return error["status"], kinds["ErrorInfo"]["reason"]


def _bedrock(reply: WireReply) -> tuple[str, ...]:
    return (reply.headers["x-amzn-errortype"],)


def _plain(reply: WireReply) -> tuple[str, ...]:
    del reply
    return ()


_OPENAI = (
    _openai,
    ("rate_limit_error", "rate_limit_exceeded", ""),
    (429, "insufficient_quota", "insufficient_quota", "false"),
)
_PLAIN = (_plain, (), (402,))
SAID: dict[str, Any] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "openai_completions": _OPENAI,
    "anthropic_messages": (_anthropic, ("rate_limit_error",), (402, "billing_error")),
    "gemini_generate": (
        _gemini, ("RESOURCE_EXHAUSTED", "RATE_LIMITED"), (429, "RESOURCE_EXHAUSTED", "BUDGET"),
    ),
    "bedrock_converse": (
        _bedrock, ("ThrottlingException",), (400, "ServiceQuotaExceededException"),
    ),
    "ollama_chat": _PLAIN,
    "cohere_chat": _PLAIN,
    "simple_query": _PLAIN,
}  # fmt: skip
"""dialect -> how its words are read, what a rate limit is called, status and words of a spent budget"""


def test_every_dialect_is_asked() -> None:
    assert set(SAID) == set(DIALECTS)


@pytest.mark.parametrize("name", sorted(SAID))
@pytest.mark.parametrize(
    ("origin", "status"),
    [(e.Origin.GATEWAY, None), *((e.Origin.PROVIDER, status) for status in (None, 400, 402, 429))],
)
def test_a_client_tells_a_rate_limit_from_a_spent_budget(
    name: str, origin: e.Origin, status: int | None
) -> None:
    """Whatever status the provider had for it: one passes when the client waits, the other does not."""
    words, limited, spent = SAID[name]
    render = DIALECTS[name].render_error
    rate = render(e.RateLimited("x", origin=origin, retry_after=7), CALL)
    assert (rate.status, *words(rate)) == (429, *limited)
    assert rate.headers["retry-after"] == "7"
    budget = render(e.BudgetSpent("x", origin=origin, status=status), CALL)
    assert (budget.status, *words(budget)) == spent
    assert "retry-after" not in budget.headers


OVERLOADED = {"anthropic_messages": 529}
"""everywhere else it is 503: boto3 and google-genai do not try again after a status of Anthropic's"""


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("status", [None, 503, 529])
@pytest.mark.parametrize(("given", "told"), [(None, "2"), (0.2, "1"), (7.0, "7")])
def test_an_overload_says_so_and_when_to_come_back(
    name: str, status: int | None, given: float | None, told: str
) -> None:
    error = e.Overloaded("x", origin=e.Origin.PROVIDER, status=status, retry_after=given)
    reply = DIALECTS[name].render_error(error, CALL)
    assert (reply.status, reply.headers["retry-after"]) == (OVERLOADED.get(name, 503), told)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_nobody_is_told_to_wait_for_what_will_not_pass(name: str) -> None:
    for make in set(OURS) - {e.Overloaded}:
        assert "retry-after" not in DIALECTS[name].render_error(make("x"), CALL).headers


# --- what providers say ---------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A provider's answer, and whether it is a rate limit or a spent budget."""

    dialect: str
    status: int
    body: Any
    budget: bool
    headers: tuple[tuple[str, str], ...] = ()


def _as_openai(message: str, kind: str, code: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _as_anthropic(kind: str, message: str) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _as_google(message: str, *details: Any) -> Any:
    return {
        "error": {
            "code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": list(details),
        }
    }  # fmt: skip


def _aws(word: str) -> tuple[tuple[str, str], ...]:
    return (("x-amzn-errortype", word),)


_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46s"}
_OPENAIS = ("openai_chat", "openai_responses", "openai_completions")
CASES = [
    *(
        case
        for d in _OPENAIS
        for case in (
            Case(d, 429, _as_openai("Slow.", "requests", "rate_limit_exceeded"), budget=False),
            Case(d, 429, _as_openai("Slow.", "rate_limit_error", "slow_down"), budget=False),
            Case(d, 429, _as_openai("No more.", "insufficient_quota"), budget=True),
            Case(d, 429, _as_openai("No more.", "x", "insufficient_quota"), budget=True),
            Case(d, 429, _as_openai("No more.", "insufficient_quota", "credit_balance_exhausted"), budget=True),
            Case(d, 429, _as_openai("No more.", "x", "project_spend_limit_exceeded"), budget=True),
            Case(d, 402, _as_openai("Insufficient Balance", "unknown_error"), budget=True),
        )
    ),
    Case("openai_chat", 429, {"code": "Some resource has been exhausted",
         "error": "Your team has either used all available credits or reached its monthly spending limit."}, budget=True),
    Case("openai_chat", 429, {"code": "Some resource has been exhausted",
         "error": "Too many requests for this model; try again in a moment."}, budget=False),
    Case("anthropic_messages", 429, _as_anthropic("rate_limit_error", "Slow."), budget=False),
    Case("anthropic_messages", 400, _as_anthropic("invalid_request_error",
         "Your credit balance is too low to access the Anthropic API."), budget=True),
    Case("anthropic_messages", 400, _as_anthropic("invalid_request_error",
         "You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC."), budget=True),
    Case("anthropic_messages", 402, _as_anthropic("billing_error", "Pay."), budget=True),
    Case("gemini_generate", 429, _as_google("Resource has been exhausted (e.g. check quota)."), budget=False),
    Case("gemini_generate", 429, _as_google(
         "You exceeded your current quota, please check your plan and billing details.", _RETRY), budget=False),
    Case("gemini_generate", 429, _as_google("Your prepayment credits are depleted."), budget=True),
    Case("gemini_generate", 429, [_as_google("Your project has exceeded its monthly spending cap.")], budget=True),
    Case("bedrock_converse", 429, {"message": "Slow."}, budget=False, headers=_aws("ThrottlingException:http://x")),
    Case("bedrock_converse", 400, {"message": "No."}, budget=True, headers=_aws("ServiceQuotaExceededException")),
    Case("ollama_chat", 429, {"error": "too many concurrent requests"}, budget=False),
    Case("ollama_chat", 402, {"error": "this model needs a subscription"}, budget=True),
    Case("cohere_chat", 429, {"message": "You are limited to 40 API calls / minute."}, budget=False),
    Case("cohere_chat", 429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, budget=True),
    Case("cohere_chat", 402, {"message": "Billing limit reached."}, budget=True),
]  # fmt: skip


def read(case: Case) -> e.GatewayError:
    head = ReplyHead(
        case.status, {"content-type": "application/json", "retry-after": "3", **dict(case.headers)}
    )
    rendered = Rendered("/v1/chat/completions", b"")
    decoder = DIALECTS[case.dialect].decoder(head, rendered)
    (failed,), _ = drain(decoder, [json.dumps(case.body).encode()])
    assert isinstance(failed, Failed)
    return failed.error


@pytest.mark.parametrize("client", sorted(DIALECTS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.dialect}-{case.status}")
def test_a_clients_sdk_hears_which_of_both_it_is(case: Case, client: str) -> None:
    error = read(case)
    assert type(error) is (e.BudgetSpent if case.budget else e.RateLimited)
    assert error.origin is e.Origin.PROVIDER
    reply = DIALECTS[client].render_error(error, CALL)
    _, _, spent = SAID[client]
    assert reply.status == (spent[0] if case.budget else 429)
    assert reply.headers["x-sluice-error-origin"] == "provider"
    assert reply.headers["retry-after"]


def test_every_provider_is_read() -> None:
    said = {(case.dialect, case.budget) for case in CASES}
    assert said == {(name, budget) for name in PROVIDERS for budget in (True, False)}


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("status", [401, 403])
def test_our_own_credential_is_never_the_clients_fault(name: str, status: int) -> None:
    error = read(Case(name, status, {"message": "no", "error": {"message": "no"}}, budget=False))
    assert isinstance(error, e.UpstreamBad) and error.origin is e.Origin.PROVIDER
    for client in DIALECTS.values():
        assert client.render_error(error, CALL).status in (502, 424)


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"null", b"[]", b'"no"'])
def test_what_no_person_could_read_keeps_its_status(name: str, body: bytes) -> None:
    head = ReplyHead(503, {"content-type": "text/html"})
    decoder = DIALECTS[name].decoder(head, Rendered("/x", b""))
    (failed,), _ = drain(decoder, [body])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, e.Overloaded) and failed.error.origin is e.Origin.PROVIDER
