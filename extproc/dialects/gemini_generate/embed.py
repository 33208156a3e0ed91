"""Embeddings: `embedContent`, `batchEmbedContents`, and Vertex's older `predict`.

Requests both ways, a whole reply to vectors, and vectors to a whole reply. What
has more than text to embed is not canonical: `parse_embed` gives None, and the
request travels as it came, or nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extproc.codec import jsontext
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad, read_object
from extproc.dialects._extras import SHAPE, fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects._vectors import numbers, unpack
from extproc.dialects.gemini_generate.contents import Object, listed
from extproc.dialects.gemini_generate.errors import envelope, stream_error
from extproc.dialects.gemini_generate.paths import VERTEX, Place, path_to
from extproc.dialects.gemini_generate.render import HEADERS, version_of
from extproc.dialects.gemini_generate.request import read_body
from extproc.dialects.gemini_generate.words import NAME, OPTIONS, VERSION, read_usage, residue
from extproc.model.call import Target
from extproc.model.chat import Extra, Json, Options
from extproc.model.dialect import Headers, Rendered, ReplyContext
from extproc.model.embed import Embed
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

ONE_TEXT = "embedContent"
MANY = "batchEmbedContents"
PREDICT = "predict"
VERBS = frozenset({ONE_TEXT, MANY, PREDICT})

_VERB = SHAPE + "verb"
_ITEMS = SHAPE + "items"
"""what each text of the request had beside itself"""

_TASKS: Mapping[str, str] = {
    "RETRIEVAL_DOCUMENT": "search_document",
    "RETRIEVAL_QUERY": "search_query",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_WORDS: Mapping[str, str] = {purpose: task for task, purpose in _TASKS.items()}
_NEWER = "gemini-embedding-2"
"""models that Vertex serves by `embedContent` alone"""


# --- the client's request -------------------------------------------------------------------


def parse_embed(place: Place, headers: Headers, body: bytes) -> Embed | None:
    """The request in `body`; None if it is not texts alone. Raises `InvalidRequest`."""
    # What `predict` is given has names of its own, which are snake case there.
    x, options = read_body(headers, body, as_given=place.verb == PREDICT)
    own: Object = {_VERB: place.verb, VERSION: place.version}
    items: Json
    match place.verb:
        case "predict":
            items, rest = x.get("instances"), residue(x, ("instances",)).fields
        case "batchEmbedContents":
            items, rest = x.get("requests"), residue(x, ("requests",)).fields
        case _:
            items, rest = x, {name: x[name] for name in x if name == OPTIONS}
    texts: list[str] = []
    shapes: list[Object] = []
    for item in listed(items):
        shape = item if isinstance(item, dict) else {}
        text = _text_of(shape.get("content"))
        if text is None:
            return None
        texts.append(text)
        shapes.append({name: shape[name] for name in shape if name != OPTIONS})
    own.update(rest)
    return _assembled(place, texts, shapes, own, options, body)


def _assembled(
    place: Place,
    texts: Sequence[str],
    shapes: list[Object],
    own: Object,
    options: Options,
    body: bytes,
) -> Embed:
    predict = place.verb == PREDICT
    task = _shared(shapes, "task_type" if predict else "taskType")
    if predict:
        given = own.get("parameters")
        size = given.get("outputDimensionality") if isinstance(given, dict) else None
    else:
        size = _shared(shapes, "outputDimensionality")
    return Embed(
        dialect=NAME,
        model=place.model,
        inputs=tuple(texts),
        dimensions=read.optional_int(size, "outputDimensionality"),
        input_type=_TASKS.get(task) if isinstance(task, str) else None,
        single=place.verb == ONE_TEXT,
        options=options,
        extra=Extra(NAME, {**own, _ITEMS: [*shapes]}),
        raw=body,
    )


def _shared(shapes: Sequence[Object], name: str) -> Json:
    """A member that all have alike."""
    first = shapes[0].get(name) if shapes else None
    return first if all(shape.get(name) == first for shape in shapes) else None


def _text_of(content: Json) -> str | None:
    """The one text of a content, or of an instance; None for anything else.

    A content is one input and becomes one vector, however many parts it has. The API's
    reference says that the texts of all parts count, and not what stands between them:
    nothing does here.
    """
    if isinstance(content, str):
        return content
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts:
        return None
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and len(part) == 1 else None
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)


# --- the provider's request -----------------------------------------------------------------


def render_embed(embed: Embed, target: Target) -> Rendered:
    """The request for `target`. Raises `Unsupported` for token ids, and for several texts where one is the most."""
    home = embed.extra.home(NAME)
    losses = Losses(target)
    verb = _verb(home, target)
    path = path_to(target, verb, version_of(home))
    texts: list[str] = []
    for item in embed.inputs:
        if not isinstance(item, str):
            raise losses.refusal(Field.INPUT, "tokens of another provider mean nothing to it")
        texts.append(item)
    if verb == ONE_TEXT and len(texts) != 1:
        raise losses.refusal(Field.INPUT, "this model embeds one text a request")
    if embed.user is not None:
        losses.drop(Field.USER)
    losses.foreign(embed.extra, NAME)
    asked = home.get(_VERB) == verb
    if embed.raw and embed.dialect == NAME and asked and _keeps_model(embed, target, verb):
        body = embed.raw
        if OPTIONS in home:
            body = jsontext.splice(body, remove=(BODY_MEMBER,))
        return Rendered(path, body, HEADERS)
    shapes = home.get(_ITEMS) if asked else None
    body = _body(embed, texts, verb, shapes if isinstance(shapes, list) else [], target)
    if verb != ONE_TEXT:
        fill(body, home)
    # Another method has another shape of reply than the client waits for.
    return Rendered(path, jsontext.dumps(body), HEADERS, losses.names, reshaped=not asked)


def _verb(home: Mapping[str, Json], target: Target) -> str:
    if target.variant == VERTEX:
        return ONE_TEXT if _NEWER in target.model else PREDICT
    verb = home.get(_VERB)
    return verb if isinstance(verb, str) and verb != PREDICT else MANY


def _keeps_model(embed: Embed, target: Target, verb: str) -> bool:
    return verb == PREDICT or target.model == embed.model


def _body(
    embed: Embed, texts: Sequence[str], verb: str, shapes: Sequence[Json], target: Target
) -> Object:
    predict = verb == PREDICT
    items: list[Json] = []
    for i, text in enumerate(texts):
        known = shapes[i] if i < len(shapes) else None
        shape: Object = dict(known) if isinstance(known, dict) else {}
        if _text_of(shape.get("content")) != text:
            shape["content"] = text if predict else {"parts": [{"text": text}]}
        if embed.input_type is not None:
            shape["task_type" if predict else "taskType"] = _WORDS.get(embed.input_type)
        if embed.dimensions is not None and not predict:
            shape["outputDimensionality"] = embed.dimensions
        if verb == MANY or "model" in shape:
            shape["model"] = f"models/{target.model.removeprefix('models/')}"
        items.append(shape)
    match verb:
        case "embedContent":
            one = items[0]
            return one if isinstance(one, dict) else {}
        case "predict":
            out: Object = {"instances": items}
            if embed.dimensions is not None:
                out["parameters"] = {"outputDimensionality": embed.dimensions}
            return out
        case _:
            return {"requests": items}


# --- replies --------------------------------------------------------------------------------


def decode_vectors(body: bytes) -> Sequence[Event]:
    """`embedding`, `embeddings` or `predictions`, in the order of the request."""
    value = read_object(body)
    if "error" in value:
        return (Failed(stream_error(value)),)
    one, many, predicted = (value.get(n) for n in ("embedding", "embeddings", "predictions"))
    items = [one] if isinstance(one, dict) else many if isinstance(many, list) else predicted
    if not isinstance(items, list):
        raise bad("the provider's reply has no embeddings")
    events: list[Event] = [Started("", "")]
    tokens = 0
    for i, item in enumerate(items):
        vector = item.get("embeddings", item) if isinstance(item, dict) else None
        values = vector.get("values") if isinstance(vector, dict) else None
        if not isinstance(vector, dict) or not isinstance(values, list):
            raise bad("the provider's reply has an embedding without values")
        events.append(Vector(i, numbers(values)))
        statistics = vector.get("statistics")
        if isinstance(statistics, dict):
            count = statistics.get("token_count", statistics.get("tokenCount"))
            tokens += int(count) if isinstance(count, int | float) else 0
    usage = value.get("usageMetadata")
    used = read_usage(usage) if isinstance(usage, dict) else None
    if used is None and tokens:
        used = Usage(fresh=tokens)
    if used is not None:
        events.append(Used(used))
    return [*events, Finished()]


class VectorEncoder:
    """Gathers vectors; gives the body with `Finished`, in the shape of the method that was called."""

    def __init__(self, embed: Embed, context: ReplyContext) -> None:
        verb = embed.extra.home(NAME).get(_VERB)
        self._verb = verb if isinstance(verb, str) else MANY
        self._context = context
        self._vectors: dict[int, Json] = {}
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case Vector():
                self._vectors[event.index] = {"values": list(unpack(event))}
            case Used() if not event.usage.estimated:
                self._usage = event.usage
            case Finished():
                return jsontext.dumps(self._body())
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _body(self) -> Json:
        items = [vector for _, vector in sorted(self._vectors.items(), key=lambda item: item[0])]
        match self._verb:
            case "predict":
                predictions: list[Json] = [{"embeddings": item} for item in items]
                return {"predictions": predictions}
            case "embedContent":
                out: Object = {"embedding": items[0] if items else {"values": []}}
            case _:
                out = {"embeddings": items}
        if self._usage is not None:
            out["usageMetadata"] = {
                "promptTokenCount": self._usage.prompt,
                "totalTokenCount": self._usage.prompt,
            }
        return out
