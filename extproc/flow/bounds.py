"""What is refused of a request's body by its size or its coding, before any of it is read."""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.errors import InvalidRequest, TooLarge


def is_large(headers: Mapping[str, str], limit: int) -> bool:
    length = headers.get("content-length", "")
    return length.isdecimal() and int(length) > limit


def check_head(headers: Mapping[str, str], limit: int) -> None:
    """Refuses what can be refused before Envoy has read a single byte of the body."""
    length = headers.get("content-length", "")
    if length.isdecimal():
        within(int(length), limit)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest(
            "The request body is compressed; send it without content-encoding.",
            param="content-encoding",
            status=415,
        )


def within(size: int, limit: int) -> None:
    """Raises TooLarge."""
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes; the limit is {limit}.")


def check_unseen(*, looked_at: bool) -> None:
    """Of an upload that nobody holds. Raises `TooLarge` where a stage must look at what requests say."""
    if looked_at:
        raise TooLarge(
            "An upload above the body limit cannot be looked at, and this gateway's policy"
            " looks at every request."
        )
