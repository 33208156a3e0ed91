"""What every language that ranks documents says: an order that depends on the words alone.

Takes a query and documents, gives results of `{index, relevance_score}`, best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from extproc.mock import writer

Result = dict[str, object]


def ranked(query: object, documents: Sequence[object], most: object) -> list[Result]:
    """By how many words of the query a document has; the earlier of two equals first."""
    wanted = set(str(query).lower().split())
    results: list[Result] = []
    for at, document in enumerate(documents):
        shared = len(wanted & set(text(document).lower().split()))
        results.append({"index": at, "relevance_score": shared / (len(wanted) or 1)})
    results.sort(key=lambda one: (-cast(float, one["relevance_score"]), one["index"]))
    return results[:most] if isinstance(most, int) else results


def text(document: object) -> str:
    """A document's words, whether it is an object or not."""
    return str(cast("Result", document).get("text") if isinstance(document, dict) else document)


def tokens(query: object, documents: Sequence[object]) -> int:
    """Each document is read beside the query."""
    return sum(writer.count(f"{query} {text(one)}") for one in documents)
