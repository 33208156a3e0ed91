"""Whether a request that arrived is signed as AWS wants it, by botocore's own arithmetic."""

from __future__ import annotations

import re
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from extproc.mock import Recorded

ACCESS, SECRET = "AKIAMATRIX0000000000", "matrix/secret/0000000000000000000000000000"
VARIABLES = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=(\w+)"
)


def check_signature(request: Recorded) -> None:
    """Asserts that path, signed headers and body are those that were signed."""
    found = _HEADER.fullmatch(request.headers.get("authorization", ""))
    assert found, request.headers
    access, _, region, service, names, signature = found.groups()
    assert (access, service) == (ACCESS, "bedrock")
    headers = {name: request.headers[name] for name in names.split(";")}
    url = f"http://{request.headers['host']}{request.path}"
    signed: Any = AWSRequest(request.method, url, headers, request.body)
    signed.context["timestamp"] = headers["x-amz-date"]
    auth: Any = SigV4Auth(Credentials(ACCESS, SECRET), service, region)
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    assert auth.signature(text, signed) == signature, "another request was signed"
