"""Attacks by a principal with too many rights on a running service: forged events, and hostile items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from tests.rules.test_hostile_data import HOSTILE
from tests.security.attacked import Attacked
from tests.security.test_side_door import promotion
from tests.security.test_taken_over import BEHIND_THE_API, forgeries, invoked, roles

VICTIM = "open"
# Where a group's states and events stand in the table, and the attribute that holds their text.
ITEMS = {"ENV#dev": "state", "VERSION#0000000001": "state", "EVENT#0000000002": "state", "HEAD": "hash"}


class Forged(Struct, frozen=True, kw_only=True):
    """Forged API events by the roles that sent them."""

    roles: int
    sent: int
    refused: int


class Blinded(Struct, frozen=True, kw_only=True):
    """Hostile items by the findings of `promotion verify` in other groups; `unnamed` are items without a finding."""

    items: int
    groups: int
    unnamed: int


def forge(attacked: Attacked) -> Forged:
    """Send every forged event as each role of the template, and then to each function by a permitted caller."""
    before = attacked.state(VICTIM)
    answers = []
    found = roles(attacked)
    for arn in found:
        session = attacked.aws("sts").assume_role(RoleArn=arn, RoleSessionName="taken-over")["Credentials"]
        client = attacked.service.session(session).client("lambda")
        for event in forgeries(attacked):
            sent = (invoked(client, attacked.function(module), event) for module in BEHIND_THE_API)
            answers += [answer == "AccessDeniedException" for answer in sent]
    for event in forgeries(attacked):
        answers.append("nothing that a function may record" in str(attacked.invoke("record", event).get("error")))
        module = "operate" if event["rawPath"] == "/operations" else "decide"
        answers.append(attacked.invoke(module, event)["statusCode"] in (400, 401, 403))
    refused = sum(answers) if attacked.state(VICTIM) == before else 0
    return Forged(roles=len(found), sent=len(answers), refused=refused)


def blind(attacked: Attacked) -> Blinded:
    """Plant one hostile item after the other in one group; the differences of other groups must still be found."""
    table = json.loads(attacked.aws("ssm").get_parameter(Name="/promotion/_service")["Parameter"]["Value"])[
        "ledger_table"
    ]
    witnesses = [f"/promotion/{group}/canary/live" for group in sorted(attacked.packages) if group != VICTIM]
    for name in witnesses:
        attacked.aws("ssm").put_parameter(Name=name, Value="{}", Type="String")
    hidden = unnamed = 0
    # A name of its own each: a parameter's name is taken for half a minute after it was deleted.
    new = [
        _parameter(attacked, f"/promotion/{VICTIM}/x{number}", value) for number, value in enumerate(HOSTILE.values())
    ]
    known = [_parameter(attacked, f"/promotion/{VICTIM}/versions/1", value) for value in HOSTILE.values()]
    planted = [*new, *known, *(_item(attacked, table, key, value) for key in ITEMS for value in HOSTILE.values())]
    for plant in planted:
        with plant:
            lines = _verified(attacked)
        hidden += sum(not any(name in line for line in lines) for name in witnesses)
        unnamed += not any(f'"model_package_group": "{VICTIM}"' in line for line in lines)
    for name in witnesses:
        attacked.aws("ssm").delete_parameter(Name=name)
    return Blinded(items=len(planted), groups=hidden, unnamed=unnamed)


def _verified(attacked: Attacked) -> list[str]:
    """The lines of a verification; none where it broke off."""
    done = promotion(attacked, "verify", "--json")
    try:
        return [json.dumps(each) for each in json.loads(done.stdout)["differences"]]
    except (ValueError, KeyError):
        return []


@contextmanager
def _parameter(attacked: Attacked, name: str, value: str) -> Iterator[None]:
    ssm = attacked.aws("ssm")
    found = ssm.get_parameters(Names=[name])["Parameters"]
    ssm.put_parameter(Name=name, Value=value, Type="String", Tier="Advanced", Overwrite=True)
    try:
        yield
    finally:
        if found:
            ssm.put_parameter(Name=name, Value=found[0]["Value"], Type="String", Overwrite=True)
        else:
            ssm.delete_parameter(Name=name)


@contextmanager
def _item(attacked: Attacked, table: str, key: str, value: str) -> Iterator[None]:
    dynamodb: Any = attacked.aws("dynamodb")
    place = {"pk": {"S": f"GROUP#{VICTIM}"}, "sk": {"S": key}}
    before = dynamodb.get_item(TableName=table, Key=place, ConsistentRead=True)["Item"]
    assert ITEMS[key] in before, sorted(before)
    dynamodb.put_item(TableName=table, Item={**before, ITEMS[key]: {"S": value}})
    try:
        yield
    finally:
        dynamodb.put_item(TableName=table, Item=before)
