"""Jina's ranking, as vLLM and others have it beside OpenAI's language.

Takes the fields of a request, gives the reply's object or what is wrong. Documents
are given back unless `return_documents` is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from extproc.mock.faults import Faults
from extproc.mock.speakers.openai_rules import Wrong
from extproc.mock.speakers.ranking import ranked, text, tokens


def reply(fields: Mapping[str, object], model: str, faults: Faults) -> dict[str, object] | Wrong:
    """`{object, model, usage, results}`, best first."""
    for name, kind in (("query", str), ("documents", list)):
        if not isinstance(fields.get(name), kind) or not fields[name]:
            return Wrong(f"Missing or invalid parameter: '{name}'.", name, "invalid_value")
    documents = cast("Sequence[object]", fields["documents"])
    most = fields.get("top_n")
    if most is not None and (not isinstance(most, int) or most < 1):
        return Wrong("'top_n' must be a positive integer.", "top_n", "invalid_value")
    results = ranked(fields["query"], documents, most)
    if fields.get("return_documents") is not False:
        for one in results:
            one["document"] = {"text": text(documents[cast(int, one["index"])])}
    total = faults.usage[0] if faults.usage else tokens(fields["query"], documents)
    made: dict[str, object] = {"object": "list", "model": model, "results": results}
    if not faults.no_usage:
        made["usage"] = {"prompt_tokens": total, "total_tokens": total}
    return made
