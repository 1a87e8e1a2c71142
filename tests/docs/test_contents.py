"""docs/README.md leads to every page, and the glossary stays short."""

from __future__ import annotations

import re
from pathlib import Path

from local.demo import CLOSED

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_every_page_is_in_the_contents() -> None:
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert named == {path.name for path in DOCS.glob("*.md")} - {"README.md"}


def test_every_link_of_the_contents_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_glossary_has_at_most_thirty_terms() -> None:
    rows = re.findall(r"^\| (?!term|---)", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert 20 <= len(rows) <= 30


def test_readme_shows_the_last_line_of_the_demo() -> None:
    assert f"\n  demo         {CLOSED}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_says_time_and_disk_of_every_command_that_it_shows() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## Time and disk\n", 1)[1].split("\n## ", 1)[0]
    listed = {
        cells[0]: cells[2]
        for row in re.findall(r"^\| (`make .*) \|$", table, re.MULTILINE)
        if (cells := row.split(" | "))
    }
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name.strip("`").removeprefix("make ") for name in listed} <= targets
    assert {f"`{name}`" for name in re.findall(r"^(make [a-z-]+) ", text, re.MULTILINE)} - {"`make deploy`"} <= set(
        listed
    )
    assert all(re.search(r"\d", time) for time in listed.values())


def test_decisions_are_numbered_without_holes_and_have_one_form() -> None:
    found = sorted((DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:03}-" for number in range(1, len(found) + 1)]
    for number, path in enumerate(found, 1):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {number}. "), path.name
        labels = " ".join(re.findall(r"^\*\*([^*]+)\.\*\*", "\n".join(lines), re.MULTILINE))
        assert lines[2].startswith("**Decided.** "), path.name
        assert re.fullmatch(r"Decided Why( How)? Given up( Cost)?", labels), f"{path.name}: {labels}"
        assert len(lines) <= 24, path.name
