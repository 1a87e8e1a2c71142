"""Verification of an installation: everything that `promotion.ledger.verify` asks for, read from AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from promotion import names
from promotion.aws.anchors import AnchorBucket
from promotion.aws.cursors import DynamoCursors
from promotion.aws.ledger import DynamoLedger
from promotion.aws.parameters import read_below
from promotion.client.live_record import read_json
from promotion.ledger.events import Difference
from promotion.ledger.verify import Anchor, Found, Verifier

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


class Installation(Struct, frozen=True, kw_only=True):
    """Resources of an installation, with their `verifier`; `table` is the ledger's name as the caller knows it."""

    verifier: Verifier
    ledger: DynamoLedger
    table: str
    ssm: Parameters
    anchors: AnchorBucket | None = None
    cursors: DynamoCursors | None = None


def check(
    installation: Installation, group: str | None = None, *, seen: Callable[[int], None] = lambda number: None
) -> Iterator[tuple[str, list[Found]]]:
    """Differences by group, one group after the other; those that belong to none come last, under no name.

    Groups are looked for in the ledger, among the anchors and among the parameters: a group whose ledger was wiped is still
    known to the others. What differs is read anew once, all of the group's together, before it is called a difference: all
    parameters are read before the first group, and meanwhile the service goes on. A group that can't be read is named, and
    the others are gone on with. `seen` is called with the number of parameters.
    """
    prefix = installation.verifier.prefix
    parameters = dict(read_below(installation.ssm, f"{prefix}/{group}" if group else prefix))
    seen(len(parameters))
    anchors = installation.anchors.known(group) if installation.anchors else {}
    groups = [group] if group else sorted({*installation.ledger.groups(), *anchors})
    for name in groups:
        below = {key: value for key, value in parameters.items() if key.startswith(f"{prefix}/{name}/")}
        kept = anchors.get(name, ())
        try:
            yield name, _group(installation, name, below, kept) and _group(installation, name, None, kept)
        except (ClientError, BotoCoreError) as error:
            difference = Difference(what="unverified", where=name, expected="an answer of AWS", found=str(error))
            yield name, [Found(difference=difference)]
    if group is None:
        yield "", [*_service(installation, parameters), *installation.verifier.strangers(groups, parameters)]


def _group(
    installation: Installation, name: str, parameters: Mapping[str, str] | None, anchors: Sequence[Anchor]
) -> list[Found]:
    """Differences of one group; its parameters are read now where None were."""
    # In this order: where the cursors are at the head that is read last, the parameters are not older than it.
    cursors = installation.cursors.read(name) if installation.cursors else None
    if parameters is None:
        parameters = dict(read_below(installation.ssm, f"{installation.verifier.prefix}/{name}"))
    return installation.verifier.group(name, parameters=parameters, anchors=anchors, cursors=cursors)


def _service(installation: Installation, parameters: dict[str, str]) -> list[Found]:
    """Check that the service registered under this prefix is this installation."""
    name = names.service_parameter(installation.verifier.prefix)
    try:
        known = read_json(parameters.get(name, "{}"))
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
