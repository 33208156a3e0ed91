"""The settings of a request that a target may set, give a default for, or cap: one table.

By their canonical names, `model/fields.py`'s, which clients also read in
`x-sluice-dropped`. Pure data: `routing/` writes the values into requests.
"""

from __future__ import annotations

from extproc.config.shapes import Choice, Field, Flag, Number, Text
from extproc.model.fields import Field as Name

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""from least to most"""

_TOKENS = 10**9
_PENALTY = Number(-2, 2, whole=False)

PARAMETERS: dict[str, Field] = {
    Name.TEMPERATURE.value: Field(Number(0, 2, whole=False), "how freely it draws its words"),
    Name.TOP_P.value: Field(
        Number(0, 1, whole=False), "of the likeliest words, those that make up this share"
    ),
    Name.TOP_K.value: Field(Number(1, 10**6), "of the likeliest words, this many"),
    Name.MAX_TOKENS.value: Field(Number(1, _TOKENS), "tokens that it may write, thoughts included"),
    Name.SEED.value: Field(Number(0, 2**31 - 1), "what its draws begin with"),
    Name.FREQUENCY_PENALTY.value: Field(_PENALTY, "against words that came often"),
    Name.PRESENCE_PENALTY.value: Field(_PENALTY, "against words that came at all"),
    Name.N.value: Field(Number(1, 128), "answers to one question"),
    Name.EFFORT.value: Field(Choice(EFFORTS), "how hard it thinks"),
    Name.BUDGET.value: Field(Number(0, _TOKENS), "tokens that it may think; 0 = none"),
    Name.VERBOSITY.value: Field(Choice(("low", "medium", "high")), "how much it says"),
    Name.SERVICE_TIER.value: Field(
        Text("letters, digits, `_` and `-`", pattern=r"[0-9A-Za-z_-]{1,64}"),
        "the provider's own word for how soon, and for what price",
    ),
    Name.PARALLEL_TOOLS.value: Field(Flag(), "several tools may be called at once"),
    Name.STORE.value: Field(Flag(), "the provider may keep the reply"),
    Name.USER.value: Field(
        Text("up to 256 characters", pattern=r"[^\n]{1,256}"), "who asks, as the provider hears it"
    ),
}

CAPS: dict[str, Field] = {
    name: one
    for name, one in PARAMETERS.items()
    if isinstance(one.shape, Number) and name != Name.SEED
}
"""those whose number may be bounded from above"""
