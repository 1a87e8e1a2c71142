"""The pictures of a run with their text alternatives, for mail and pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from promotion.domain.model import Evidence
from promotion.formatting import duration, listed, number, one_line
from promotion.rendering.documents.rows import MetricRow

PictureSource = Callable[[str], bytes | None]
PICTURES_SHOWN = 4
LARGEST_PICTURE_BYTES = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n"


class Drawn(Struct, frozen=True, kw_only=True):
    """A picture that was read."""

    name: str
    data: bytes
    alternative: str


def drawn(
    evidence: Evidence, rows: Sequence[MetricRow], source: PictureSource, *, most: int = PICTURES_SHOWN
) -> tuple[list[Drawn], list[str]]:
    """Return the first `most` readable pictures of a run, and the names of unreadable ones; `rows` are its metrics."""
    found: list[Drawn] = []
    lost: list[str] = []
    for index, address in enumerate(evidence.pictures[:PICTURES_SHOWN]):
        if len(found) == most:
            break
        name = one_line(address.rpartition("/")[2], 80) or f"picture-{index}.png"
        if not address.startswith("s3://"):
            address = f"{evidence.metrics_uri.rpartition('/')[0]}/{address}"
        data = source(address) if address.startswith("s3://") else None
        if data is None or not data.startswith(PNG) or len(data) > LARGEST_PICTURE_BYTES:
            lost.append(name)
        else:
            found.append(Drawn(name=name, data=data, alternative=alternative(name, evidence, rows)))
    return found, lost


def alternative(name: str, evidence: Evidence, rows: Sequence[MetricRow]) -> str:
    """Return a picture's text alternative."""
    if name.startswith("latency") and evidence.latency_ms:
        said = listed([f"{key} {duration(value)}" for key, value in evidence.latency_ms.items()])
        return f"Distribution of latency: {said}."
    if name.startswith("metrics"):
        parts = []
        for row in rows[:6]:
            live = f", live {number(row['live']['value'])}" if row["live"] else ""
            gate = "" if row["open"] is None else ", passed" if row["open"] else ", failed"
            parts.append(f"{row['metric']} {number(row['candidate']['value'])}{live}{gate}")
        return f"Metrics against gates and the live version: {'; '.join(parts)}."
    return f"{name.removesuffix('.png').replace('_', ' ').replace('-', ' ')} of the inference run."
