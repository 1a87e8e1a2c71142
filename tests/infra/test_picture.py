"""The architecture picture is the template's."""

from __future__ import annotations

import os

from infra.picture import page
from tests.infra.synthesized import ROOT, Template


def test_the_picture_is_drawn_from_the_template(template: Template) -> None:
    """Set UPDATE_SNAPSHOTS=1 to draw it again."""
    place = ROOT / "docs" / "architecture.md"
    drawn = page(template.document)
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        place.write_text(drawn, encoding="utf-8")
    assert place.read_text(encoding="utf-8") == drawn


def test_the_picture_shows_that_decide_alone_appends(template: Template) -> None:
    drawn = page(template.document).splitlines()
    appending = [line for line in drawn if "|appends| StoreLedger" in line]
    assert len(appending) == 1
    assert "FunctionsDecide" in appending[0]
