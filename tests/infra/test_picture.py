"""The architecture picture is the template's, and a picture."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.synthesized import ROOT, Template, synthesize
from tests.infra.test_endpoints import configured
from tools.draw_architecture import page

# What Mermaid takes for a node or an arrow when every text is in quotes.
LINE = re.compile(
    r"flowchart LR"
    r'|\s+subgraph \w+\["[^"]+"\]'
    r"|\s+end"
    r'|\s+\w+(\["[^"]+"\]|\[\("[^"]+"\)\]|\[/"[^"]+"/\]|\(\["[^"]+"\]\)|\{\{"[^"]+"\}\}|\(\("[^"]+"\)\))'
    r'|\s+\w+ -->(\|"[^"|]+"\|)? \w+'
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With endpoints: one account, and an environment that has its own."""
    one, far = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("far")
    service = synthesize(configured(one, "promotion.toml", "dev", "test", "uat", "prod"), one / "out")
    synthesize(configured(far, "accounts.toml", "prod"), far / "out")
    return page(
        service.document,
        with_bus(far / "out" / "promotion.template.json", "WiringBus00000000", "111111111111"),
        with_bus(far / "out" / "promotion-prod.template.json", "Bus00000000", "444444444444"),
    )


def with_bus(file: Path, logical_id: str, account: str) -> dict[str, Any]:
    """A stack's document with the account's bus in it, which is in a stack of its own."""
    text = file.read_text(encoding="utf-8")
    arn = f'"arn:aws:events:us-east-1:{account}:event-bus/promotion"'
    text = text.replace(arn, json.dumps({"Fn::GetAtt": [logical_id, "Arn"]}))
    text = text.replace('"EventBusName": "promotion"', f'"EventBusName": {json.dumps({"Ref": logical_id})}')
    document: dict[str, Any] = json.loads(text)
    document["Resources"][logical_id] = {"Type": "AWS::Events::EventBus", "Properties": {"Name": "promotion"}}
    return document


def test_the_picture_is_drawn_from_the_template(drawn: str) -> None:
    """Set UPDATE_SNAPSHOTS=1 to draw it again."""
    place = ROOT / "docs" / "architecture.md"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        place.write_text(drawn, encoding="utf-8")
    assert place.read_text(encoding="utf-8") == drawn


def test_every_line_is_one_that_mermaid_draws(drawn: str) -> None:
    pictures = re.findall(r"```mermaid\n(.*?)```", drawn, re.DOTALL)
    assert len(pictures) == 3
    for line in "".join(pictures).splitlines():
        assert LINE.fullmatch(line), line


def test_the_picture_shows_that_three_functions_append(drawn: str) -> None:
    appending = [line for line in drawn.splitlines() if line.endswith("--> StoreLedger")]
    assert appending == [f"  Functions{name} --> StoreLedger" for name in ("Decide", "Operate", "Record")]


@pytest.mark.parametrize(
    "arrow",
    [
        'FunctionsOnLiveChanged -->|"keeps"| Endpoints',
        'FunctionsOnModelRegistered -->|"runs"| HashingRole',
        'hereFunctionsOnProjectionDue -->|"becomes"| thereWriter',
        'thereSageMaker -->|"how endpoints fare"| hereWiringBus',
    ],
)
def test_endpoints_the_hashing_job_and_accounts_are_in_it(drawn: str, arrow: str) -> None:
    assert f"  {arrow}\n" in drawn


def test_every_function_is_in_it(drawn: str, template: Template) -> None:
    for name in template.of_type("AWS::Lambda::Function"):
        module = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removeprefix("Functions")[:-8]).lower()
        if module != "on_event_published":  # a channel's alone
            assert f'"{module}"' in drawn, module
