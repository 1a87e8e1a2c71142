"""`promotion rebuild --states`: asked of the function that writes the ledger, a group at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from promotion.cli import checking, main, operating


class Groups:
    def groups(self) -> Iterator[str]:
        yield from ("churn", "summariser")


@pytest.mark.parametrize(("given", "asked"), [((), ["churn", "summariser"]), (("churn",), ["churn"])])
def test_states_are_folded_again_by_the_function_that_writes_them(
    given: tuple[str, ...], asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[dict[str, str]] = []

    def post(document: dict[str, str]) -> dict[str, object]:
        sent.append(document)
        return {"group": document["group"], "events": [], "note": "3 states folded again"}

    monkeypatch.setattr(operating, "_post", post)
    monkeypatch.setattr(checking, "ledger", Groups)
    assert main(["rebuild", *given, "--states"]) == 0
    assert sent == [{"operation": "refold", "group": group} for group in asked]
    assert capsys.readouterr().out == "".join(f"{group}: 3 states folded again\n" for group in asked)
