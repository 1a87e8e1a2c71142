"""`promotion rebuild --states`: asked of the function that writes the ledger, a group at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from promotion.cli import checking, main, operating

URL = "https://promotion.example.com"


class Groups:
    def groups(self) -> Iterator[str]:
        yield from ("churn", "summariser")


@pytest.mark.parametrize(("given", "asked"), [((), ["churn", "summariser"]), (("churn",), ["churn"])])
def test_states_are_folded_again_by_the_function_that_writes_them(
    given: tuple[str, ...], asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[dict[str, str]] = []

    def post(url: str, data: str, **_: Any) -> Any:
        document = json.loads(data)
        sent.append(document)
        answer = {"group": document["group"], "events": [], "note": "3 states folded again"}
        return SimpleNamespace(status_code=200, json=lambda: answer)

    monkeypatch.setattr(requests, "post", post)
    monkeypatch.setattr(operating, "installation", lambda: {"api_url": URL, "region": "us-east-1"})
    monkeypatch.setattr(checking, "ledger", Groups)
    assert main(["rebuild", *given, "--states"]) == 0
    assert sent == [{"operation": "refold", "group": group} for group in asked]
    assert capsys.readouterr().out == "".join(f"{group}: 3 states folded again\n" for group in asked)
