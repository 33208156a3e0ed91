"""Who gives tokens to clouds' clients: Google's and Entra's OAuth endpoints, in small.

Takes a grant, gives a token that is the same for everybody. Checks that there is a
grant and nothing of it: no key, no assertion, no secret.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import orjson

from extproc.mock.answer import Answer, Asked

_JSON = "application/json"
_TOKEN = {"access_token": "mock-access-token", "expires_in": 3600, "token_type": "Bearer"}


class Tokens:
    """Speaker of `.../token`."""

    name = "tokens"

    def claims(self, path: str) -> bool:
        """Google's `/token` and Entra's `/oauth2/v2.0/token`, under any base."""
        return path.endswith("/token")

    def answer(self, asked: Asked) -> Answer:
        """A token, or the refusal of a request without a grant."""
        if asked.method != "POST" or "grant_type" not in parse_qs(asked.body.decode("latin-1")):
            return self.error(400, "The request has no grant_type.")
        return Answer(200, _JSON, orjson.dumps(_TOKEN))

    def error(self, status: int, message: str) -> Answer:
        """OAuth's own envelope."""
        word = "invalid_request" if status < 500 else "server_error"
        body = {"error": word, "error_description": message}
        return Answer(status, _JSON, orjson.dumps(body))

    def error_event(self) -> bytes:
        """Never sent: nothing here is a stream."""
        return b""


SPEAKER = Tokens()
