"""Write docs/events/*.schema.json and docs/attestation.schema.json from their structs: `python -m tools.write_event_schemas`."""

from __future__ import annotations

import json
from pathlib import Path

from promotion.aws.messages.published_events import DETAILS, schema_of
from promotion.ledger import attestation

FOLDER = Path(__file__).parents[1] / "docs" / "events"
ATTESTATION = FOLDER.parent / "attestation.schema.json"


def page(kind: str) -> str:
    """The file of a detail-type."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def path(kind: str) -> Path:
    """Path of a detail-type's file."""
    return FOLDER / f"{kind.lower().replace(' ', '-')}.schema.json"


if __name__ == "__main__":
    for each in DETAILS:
        path(each).write_text(page(each), encoding="utf-8")
    ATTESTATION.write_text(attestation.schema_text(), encoding="utf-8")
