"""What is not text: a picture, a PDF, a sound, each as bytes."""

from __future__ import annotations

from tests.e2e.matrix.run import Run, Scenario
from tests.e2e.matrix.talk import Medium

PNG = Medium(
    "image/png",
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d4944415478da6364f8cf500f00038601805a347d6b0000000049454e44ae426082"
    ),
)
PDF = Medium("application/pdf", b"%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF\n")
WAV = Medium(
    "audio/wav",
    b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\2\0\0\0\x80\x80",
)


def _sent(medium: Medium, question: str, run: Run) -> None:
    talk = run.talk("seeing")
    talk.user(question, medium)
    said = run.ask(talk)
    run.arrived(question, run.written(medium))
    run.ended(said, "stop")


SCENARIOS = (
    Scenario(
        "image",
        "A picture as bytes",
        frozenset({"image"}),
        lambda run: _sent(PNG, "What is in this picture?", run),
    ),
    Scenario(
        "document",
        "A PDF as bytes",
        frozenset({"document"}),
        lambda run: _sent(PDF, "What does this say?", run),
    ),
    Scenario(
        "audio",
        "A sound as bytes",
        frozenset({"audio"}),
        lambda run: _sent(WAV, "What do you hear?", run),
    ),
)
