"""Verification of an installation: everything that `promotion.ledger.verify` asks for, read from AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator

from msgspec import Struct

from promotion import names
from promotion.aws import Client
from promotion.aws.anchors import AnchorBucket
from promotion.aws.cursors import DynamoCursors
from promotion.aws.ledger import DynamoLedger
from promotion.aws.parameters import read_below
from promotion.ledger.events import Difference
from promotion.ledger.verify import Found, Verifier


class Installation(Struct, frozen=True, kw_only=True):
    """Resources of an installation, with their `verifier`; `table` is the ledger's name as the caller knows it."""

    verifier: Verifier
    ledger: DynamoLedger
    table: str
    ssm: Client
    anchors: AnchorBucket | None = None
    cursors: DynamoCursors | None = None


def check(installation: Installation, group: str | None = None) -> Iterator[tuple[str, list[Found]]]:
    """Differences by group, one group after the other; those that belong to none come last, under no name.

    Groups are looked for in the ledger, among the anchors and among the parameters: a group whose ledger was wiped is still
    known to the others.
    """
    prefix = installation.verifier.prefix
    parameters = dict(read_below(installation.ssm, f"{prefix}/{group}" if group else prefix))
    anchors = installation.anchors.known(group) if installation.anchors else {}
    groups = [group] if group else sorted({*installation.ledger.groups(), *anchors})
    for name in groups:
        below = {key: value for key, value in parameters.items() if key.startswith(f"{prefix}/{name}/")}
        cursors = installation.cursors.read(name) if installation.cursors else None
        yield name, installation.verifier.group(name, parameters=below, anchors=anchors.get(name, ()), cursors=cursors)
    if group is None:
        yield "", [*_service(installation, parameters), *installation.verifier.strangers(groups, parameters)]


def _service(installation: Installation, parameters: dict[str, str]) -> list[Found]:
    """Check that the service registered under this prefix is this installation."""
    name = names.service_parameter(installation.verifier.prefix)
    try:
        known = json.loads(parameters.get(name, "{}"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or known.get("ledger_table", installation.table) != installation.table:
        said = known.get("ledger_table") if isinstance(known, dict) else "no JSON"
        difference = Difference(
            what="parameter",
            where=name,
            expected=f"the ledger {installation.table}",
            found=f"{said}: do two services share the prefix {installation.verifier.prefix}?",
        )
        return [Found(difference=difference)]
    return []
