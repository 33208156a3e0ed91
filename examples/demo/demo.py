"""`make demo`: a gateway and three mock providers, and what routing does with them.

    demo.py [STEP...]        the steps of these numbers alone

Plays each model of `sluice.yaml` beside this file, says what came of it, and ends by itself:
with status 0, or 1 if something was not as it says. Everything is on the loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

CONFIG = Path(__file__).with_name("sluice.yaml")
SLUICE = Path(sys.executable).with_name("sluice")
CHAT = "/v1/chat/completions"
CALLERS = ("ada", "bob", "cleo", "eve", "hal", "ivy")
KEYS = {name: secrets.token_hex(16) for name in ("ops", *CALLERS)}
PATIENCE = 30.0
"""seconds for a process to begin or to end, and for an answer"""
NAMES = ("north", "south", "east")
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
SOON = 15.0
"""seconds"""
T = TypeVar("T")


def eventually(what: Callable[[], T | None], wanted: str, patience: float = PATIENCE) -> T:
    """The first true result of `what`. Raises TimeoutError."""
    deadline = time.monotonic() + patience
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} s in vain for {wanted}")
        time.sleep(0.05)
    return found


@contextmanager
def process(command: Sequence[object], log: Path, **variables: str) -> Iterator[None]:
    """`sluice` with these words, for as long as the block lasts; what it says goes to `log`."""
    with log.open("w") as sink:
        running = subprocess.Popen(
            [SLUICE, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **variables},
        )
    try:
        yield
    finally:
        running.terminate()
        running.wait(PATIENCE)


class Mock:
    """A mock provider; switched off and on again, it is at the same address."""

    def __init__(self, name: str, folder: Path) -> None:
        self._log = folder / f"{name}.log"
        self._life = ExitStack()
        self._port = 0
        self.on()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def on(self) -> None:
        while True:
            # Below the ports that the system gives to connections: it is still free after a break.
            port = self._port or 15_000 + secrets.randbelow(15_000)
            self._life.enter_context(process(["mock", "--port", port], self._log))
            if "mock provider on" in eventually(self._log.read_text, "a mock provider"):
                self._port = port
                return
            self.off()

    def off(self) -> None:
        self._life.close()

    def asked(self) -> int:
        """How many requests came since this was called last."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            seen = client.get("/_mock/stats").json()["requests"]
            client.delete("/_mock/requests")
        return seen


class Gateway:
    """`sluice up`, by `sluice.yaml` beside this file. Its callers speak OpenAI's language."""

    def __init__(self, stack: ExitStack, folder: Path, mocks: Mapping[str, Mock]) -> None:
        self._log = folder / "gateway.log"
        variables = {name.upper(): mock.url for name, mock in mocks.items()}
        variables |= {f"{name.upper()}_KEY": key for name, key in KEYS.items()}
        variables |= {"DEMO_PORT": "0", "DEMO_DATA": str(folder / "data")}
        stack.enter_context(process(["up", "--config", CONFIG], self._log, **variables))
        self.url: str = self._line("the gateway", event="ready")["url"]
        self._http = stack.enter_context(
            httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)
        )
        eventually(lambda: self._http.get("/health/ready").is_success, "the gateway to be ready")

    def get(self, path: str) -> Any:
        """For an admin."""
        return self._http.get(path, headers=_auth("ops")).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, object], caller: str) -> httpx.Response:
        return self._http.post(path, json=body, headers=_auth(caller))

    def ask(self, model: str, caller: str = "ada") -> httpx.Response:
        return self.post(CHAT, asking(model), caller)

    def told(self, answer: httpx.Response) -> Mapping[str, Any]:
        """What the log says of this exchange."""
        call = answer.headers["x-sluice-call-id"]
        return self._line("an exchange in the log", event="exchange", call=call)

    def _line(self, what: str, **wanted: str) -> Mapping[str, Any]:
        def found() -> Mapping[str, Any]:
            whole, _, _ = self._log.read_text().rpartition("\n")
            lines = map(json.loads, reversed(whole.splitlines()))
            return next((line for line in lines if wanted.items() <= line.items()), {})

        try:
            return eventually(found, what)
        except TimeoutError:
            print(self._log.read_text()[-2000:], file=sys.stderr)
            raise


def asking(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}]}


def _auth(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


class Demo:
    """`failed` is what was not as it should be."""

    def __init__(self, gateway: Gateway, mocks: Mapping[str, Mock]) -> None:
        self.gateway = gateway
        self.mocks = mocks
        self.failed: list[str] = []

    def check(self, what: str, so: bool) -> None:
        print(f"   {'ok' if so else 'NOT SO'}: {what}")
        if not so:
            self.failed.append(what)

    def split(self) -> None:
        title("1 WEIGHTED SPLIT", "split: north 70, south 20, east 10")
        for mock in self.mocks.values():
            mock.asked()
        calls = 200
        said = Counter(provider(self.gateway.ask("split")) for _ in range(calls))
        for name in NAMES:
            print(f"   {name:6} {said[name]:4}  {'#' * (said[name] // 4)}")
        shares = {"north": 70, "south": 20, "east": 10}
        near = [abs(said[name] * 100 / calls - share) < 15 for name, share in shares.items()]
        self.check("near the weights", all(near))
        counted = Counter({name: mock.asked() for name, mock in self.mocks.items()})
        self.check("the providers counted the same", counted == said)

    def failover(self) -> None:
        title("2 FAILOVER IN MID-LIST", "backup: one overloaded, one silent, then east")
        began = time.monotonic()
        answer = self.gateway.ask("backup")
        print(f"   status {answer.status_code} after {(time.monotonic() - began) * 1e3:.0f} ms")
        for name in ("provider", "attempts", "why"):
            print(f"   x-sluice-{name}: {answer.headers.get(f'x-sluice-{name}')}")
        for attempt in self.gateway.told(answer)["tried"]:
            print(f"   in the log: {attempt}")
        text = answer.json()["choices"][0]["message"]["content"] if answer.is_success else ""
        self.check("the client got one good answer, in its own language", "Hello" in text)
        self.check("the third attempt made it", attempt_of(answer) == ("east", 3))

    def breaker(self) -> None:
        title("3 BREAKER", "steady: north, then south; 3 failures open it for 2 s")
        north, answers = self.mocks["north"], list[httpx.Response]()

        def asked() -> httpx.Response:
            answers.append(self.gateway.ask("steady"))
            return answers[-1]

        north.off()
        print("   north is switched off")
        self.until("GET /providers says open", lambda: asked() and self.state() == "open")
        self.until("north is left alone", lambda: "struck:breaker" in why(asked()))
        print(f"   x-sluice-why: {why(answers[-1])}")
        north.on()
        print("   north is switched on")
        self.until("GET /providers says closed", lambda: asked() and self.state() == "closed")
        calm = range(20)
        self.until("north answers again", lambda: all(provider(asked()) == "north" for _ in calm))
        self.check(f"none of {len(answers)} calls failed", all(one.is_success for one in answers))

    def state(self) -> str:
        """How north's model stands, by the gateway's word."""
        listed = self.gateway.get("/providers?detail=1")["providers"]
        (target,) = next(one["targets"] for one in listed if one["name"] == "north")
        return target["state"]

    def arms(self) -> None:
        title("4 A/B LABELS", "trial: arms a and b, half of the callers each")
        found: dict[str, set[str]] = {}
        for name in CALLERS:
            calls = [self.gateway.ask("trial", name) for _ in range(5)]
            found[name] = {self.gateway.told(call).get("label", "none") for call in calls}
        print("   " + "   ".join(f"{name}: {'/'.join(arms)}" for name, arms in found.items()))
        same = all(len(arms) == 1 for arms in found.values())
        self.check("by the log's label, each kept to one arm in five calls", same)
        self.check("both arms have callers", set.union(*found.values()) == {"a", "b"})

    def shadow(self) -> None:
        title("5 SHADOW COPY", "watched: south; east gets a copy of each request")
        south, east = self.mocks["south"], self.mocks["east"]
        for mock in (south, east):
            mock.asked()
        calls, copies = 20, Counter[str]()
        said = Counter(provider(self.gateway.ask("watched")) for _ in range(calls))

        def all_came() -> bool:
            copies["east"] += east.asked()
            return copies["east"] >= calls

        self.until(f"{calls} copies came to east", all_came)
        asked = south.asked()
        print(f"   {calls} calls: answers of south {said['south']}, of east {said['east']}")
        print(f"   south counted {asked}, east {copies['east']}")
        once = asked == said["south"] == copies["east"] == calls
        self.check("each once, and no client saw a copy's answer", once)

    def explain(self) -> None:
        title("6 WHY", "chosen: east or, for ada, north; then south")
        body = {**asking("chosen"), "tools": [TOOL]}
        told = self.gateway.post("/v1/route/explain", body, "bob").json()
        print("   POST /v1/route/explain, of bob's request with a tool:")
        for one in told["candidates"]:
            rule = "kept" if one["kept"] else f"{one['rule']} {one['detail']}".rstrip()
            target = f"{one['provider']}/{one['model']}"
            print(f"   group {one['group']}  {target:24} {rule}")
        said = [one["provider"] for one in told["attempts"]]
        self.check("it says south", said == ["south"])
        answer = self.gateway.post(CHAT, body, "bob")
        print(f"   asked in earnest, x-sluice-why: {why(answer)}")
        self.check("south it is", answer.is_success and provider(answer) == "south")

    def until(self, what: str, so: Callable[[], object]) -> None:
        try:
            self.check(what, bool(eventually(so, what, SOON)))
        except TimeoutError:
            self.check(what, False)


STEPS = (Demo.split, Demo.failover, Demo.breaker, Demo.arms, Demo.shadow, Demo.explain)


def title(what: str, model: str) -> None:
    print(f"\n{what}   {model}", flush=True)


def provider(answer: httpx.Response) -> str:
    return answer.headers.get("x-sluice-provider", "")


def why(answer: httpx.Response) -> str:
    return answer.headers.get("x-sluice-why", "")


def attempt_of(answer: httpx.Response) -> tuple[str, int]:
    """Who answered, at which attempt."""
    return provider(answer), int(answer.headers.get("x-sluice-attempts", "0"))


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-demo-")))
        mocks: dict[str, Mock] = {}
        for name in NAMES:
            mocks[name] = Mock(name, folder)
            stack.callback(mocks[name].off)
        gateway = Gateway(stack, folder, mocks)
        print(f"Sluice on {gateway.url}, with three mock providers:")
        print("north speaks OpenAI's language, south Anthropic's, east Gemini's.")
        demo = Demo(gateway, mocks)
        for number in map(int, sys.argv[1:] or range(1, len(STEPS) + 1)):
            STEPS[number - 1](demo)
    print(f"\n{'Not so: ' + '; '.join(demo.failed) if demo.failed else 'All of it is so.'}")
    return 1 if demo.failed else 0


if __name__ == "__main__":
    sys.exit(main())
