"""Media: `data:` URLs taken apart and put together, types and short names."""

from __future__ import annotations

import pytest

from extproc.dialects._media import FORMATS, data_url, format_of, source_of, type_of
from extproc.model.chat import Source


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://x.test/a.png", Source(url="https://x.test/a.png")),
        ("data:image/png;base64,AA==", Source(data="AA==", media_type="image/png")),
        ("data:image/png;name=a;base64,AA==", Source(data="AA==", media_type="image/png")),
        ("data:;base64,AA==", Source(data="AA==")),
        ("data:text/plain,hi", Source(url="data:text/plain,hi")),
        ("data:image/png;base64", Source(url="data:image/png;base64")),
        ("DATA:x", Source(url="DATA:x")),
    ],
)
def test_urls(url: str, source: Source) -> None:
    assert source_of(url) == source


def test_what_is_known_besides_is_kept() -> None:
    assert source_of("u", "image/gif", "n") == Source(url="u", media_type="image/gif", name="n")
    assert source_of("data:;base64,A", "image/gif", "n").media_type == "image/gif"
    assert source_of("data:image/png;base64,A", "image/gif").media_type == "image/png"


def test_data_urls_are_written_as_they_are_read() -> None:
    source = Source(data="AA==", media_type="application/pdf")
    assert data_url(source) == "data:application/pdf;base64,AA=="
    assert source_of(data_url(source)) == source
    assert data_url(Source(data="A")) == "data:application/octet-stream;base64,A"


def test_short_names() -> None:
    assert format_of("Image/JPEG; q=1") == "jpeg"
    assert format_of("image/tiff") is None
    assert format_of(None) is None
    assert type_of("WAV") == "audio/wav"
    assert type_of("mp3") == "audio/mpeg"
    assert type_of("jpeg") == "image/jpeg"
    assert type_of("tiff") is None
    for short in FORMATS.values():
        assert format_of(type_of(short)) == short
