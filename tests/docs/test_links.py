"""Every link of a page of this repository leads to a file that is there, and to a heading in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "examples", "outside", ".github")
_CODE = re.compile(r"^```.*?^```|``.+?``|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(<?([^)<>\s]+)>?(?: \"[^\"]*\")?\)")
# A page's own text may name a heading without a link: docs/inference.md#tables.
_NAMED = re.compile(r"(?<![\w/.(-])((?:[\w.-]+/)*[\w-]+\.md)#([\w-]+)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def pages() -> list[str]:
    found = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in _HEADING.findall(text):
        said = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-")
        number = 1
        while (anchor := name if number == 1 else f"{name}-{number - 1}") in found:
            number += 1
        found.add(anchor)
    return found


def links(page: str) -> Iterator[tuple[Path, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in _LINK.findall(_CODE.sub("", text)):
        if not re.match(r"[a-z][a-z+.-]*:", target):
            path, _, anchor = target.partition("#")
            yield ((ROOT / page).parent / path if path else ROOT / page), anchor
    for path, anchor in _NAMED.findall(text):
        yield ROOT / path, anchor


@pytest.mark.parametrize("page", pages())
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: str) -> None:
    broken = []
    for path, anchor in links(page):
        if not path.exists():
            broken.append(f"{path.resolve().relative_to(ROOT)} is not there")
        elif anchor and (path.suffix != ".md" or anchor not in anchors(path)):
            broken.append(f"{path.resolve().relative_to(ROOT)} has no heading #{anchor}")
    assert broken == []


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `[x.y]` table\n\n```sh\n# no heading\n```\n\n## On-call, 24/7\n\n## Again\n\n## Again\n")
    assert anchors(page) == {"a-xy-table", "on-call-247", "again", "again-1"}
