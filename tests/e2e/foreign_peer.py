"""A gateway without keys, asked from an address that is not loopback.

A program, to be run alone in a network namespace of its own (`unshare -Urn`):
it gives the loopback device a second address, which nobody outside can reach,
and prints what the gateway answered, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx

from extproc.mock import MockProvider
from tests.e2e.harness import Gateway

ADDRESS = "10.77.0.1"


def main(folder: Path) -> None:
    for words in ("link set lo up", f"addr add {ADDRESS}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    answers: dict[str, object] = {}
    with MockProvider.running() as mock:
        gateway = Gateway(folder, mock, workers=1, server={"host": "0.0.0.0", "port": 0})
        try:
            gateway.wait_until_ready()
            url = f"http://{ADDRESS}:{gateway.port}"
            with httpx.Client(trust_env=False, headers={"host": "localhost"}) as client:
                for path in ("/v1/models", "/metrics", "/health", "/query"):
                    method = "POST" if path == "/query" else "GET"
                    body = {"prompt": "hi"} if path == "/query" else None
                    answer = client.request(method, url + path, json=body)
                    answers[path] = [answer.status_code, answer.text]
                lies = {"x-forwarded-for": "127.0.0.1", "x-sluice-peer": "127.0.0.1"}
                answer = client.get(url + "/v1/models", headers=lies)
                answers["lies"] = [answer.status_code, answer.text]
                answer = client.get(url + "/metrics", headers=lies)
                answers["lies to management"] = [answer.status_code, answer.text]
            with gateway.http() as client:
                answers["loopback"] = [client.get("/v1/models").status_code, ""]
            answers["provider saw"] = len(mock.requests)
            answers["said"] = gateway.log_text()
        finally:
            gateway.destroy()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
