"""Verification of an installation: reads from AWS the data that `promotion.ledger.verify` needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.aws.ledger_table.anchors import AnchorBucket
from promotion.aws.ledger_table.checkpoints import Checkpoints
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.client.live_record import read_json
from promotion.errors import UNREADABLE
from promotion.ledger.checked import LedgerReader
from promotion.ledger.checkpoint import Checkpoint
from promotion.ledger.events import Difference
from promotion.ledger.verify import Mismatch, Verifier

# Seconds to wait before each repeated read of a group with differences. A projection takes a second or two; a target
# that failed is retried within 23 seconds.
SETTLES_S = (1.0, 5.0, 20.0)


class Ledger(LedgerReader, Protocol):
    """The part of the ledger that verification reads."""

    def groups(self) -> list[str]:
        """Return the names of all groups that have events."""


class Cursors(Protocol):
    """The position of each target in the ledger."""

    def read(self, group: str) -> dict[str, int]:
        """Return the sequence number of the last projected event, by target."""


def _now() -> datetime:
    return datetime.now(UTC)


if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


class Installation(Struct, frozen=True, kw_only=True):
    """Resources of an installation, with their `verifier`; `table` is the ledger's name as the caller has it.

    With `checkpoints`, a verification continues after the last one without differences; otherwise it reads all events.
    """

    verifier: Verifier
    ledger: Ledger
    table: str
    ssm: Parameters
    anchors: AnchorBucket | None = None
    cursors: Cursors | None = None
    checkpoints: Checkpoints | None = None
    now: Callable[[], datetime] = _now


class Look(Struct, frozen=True, kw_only=True):
    """The differences found in a group by one read; `moving` while events are appended or projected."""

    found: list[Mismatch]
    moving: bool = False

    def confirmed(self, before: Look) -> Look:
        """Return this result with only the differences that the previous result had, too."""
        known = {each.difference.line for each in before.found}
        return replace(self, found=[each for each in self.found if each.difference.line in known])


def check(
    installation: Installation,
    group: str | None = None,
    *,
    pause: Callable[[float], None] = lambda seconds: None,
    begins: Callable[[str, int, int], None] = lambda name, number, of: None,
) -> Iterator[tuple[str, list[Mismatch]]]:
    """Yield differences by group; those that belong to no group come last, under an empty name.

    Groups are taken from the ledger, the anchors and the parameters: a group whose ledger was wiped is still found in the
    others. A group that can't be read is reported, and the others are verified. Because the service keeps working,
    groups with differences are read again after a `pause`, before the differences are reported. `begins` is called
    before each group with its name, its number from 1 and the number of groups.
    """
    prefix = installation.verifier.prefix
    parameters = {} if group else dict(read_below(installation.ssm, prefix))
    groups = [group] if group else known_groups(installation)
    yield from check_groups(installation, _announced(groups, begins), pause=pause)
    if group is None:
        yield "", differences_of_no_group(installation, groups, parameters)


def _announced(groups: Sequence[str], begins: Callable[[str, int, int], None]) -> Iterator[str]:
    for number, name in enumerate(groups, 1):
        begins(name, number, len(groups))
        yield name


def known_groups(installation: Installation) -> list[str]:
    """Return the groups in the ledger or in the anchors."""
    anchored = installation.anchors.known() if installation.anchors else {}
    return sorted({*installation.ledger.groups(), *anchored})


def differences_of_no_group(
    installation: Installation, groups: Sequence[str], parameters: Mapping[str, str]
) -> list[Mismatch]:
    """Return differences that belong to no group: another service under the prefix, or an intruder's parameters."""
    return [*_service(installation, parameters), *installation.verifier.unknown_groups(groups, parameters)]


def _never(groups: Sequence[str]) -> bool:
    """Return False: no groups are passed on."""
    return False


def check_groups(
    installation: Installation,
    groups: Iterable[str],
    *,
    pause: Callable[[float], None],
    passed_on: Callable[[Sequence[str]], bool] = _never,
) -> Iterator[tuple[str, list[Mismatch]]]:
    """Yield the differences of groups: groups without differences first, then the others once they are stable.

    Before each repeated read but the first, `passed_on` is called with the groups that are left. If it returns True,
    another process verifies them, and they are not yielded.
    """
    open_: dict[str, Look] = {}
    for name in groups:
        found = look(installation, name, whole=False)
        if found.found:
            open_[name] = found
        else:
            yield name, []
    yield from _settled(installation, open_, pause, passed_on)


def _settled(
    installation: Installation,
    looks: dict[str, Look],
    pause: Callable[[float], None],
    passed_on: Callable[[Sequence[str]], bool],
) -> Iterator[tuple[str, list[Mismatch]]]:
    """Read groups with differences again, until none is left, or the same ones remain while no target is behind."""
    looked = 0
    for seconds in SETTLES_S:
        if not looks:
            return
        pause(seconds)
        for name, before in sorted(looks.items()):
            if looked and passed_on(sorted(looks)):
                return
            looked += 1
            again = look(installation, name, whole=True).confirmed(before)
            looks[name] = again
            if not again.found or not again.moving:
                del looks[name]
                yield name, again.found
    for name, last in sorted(looks.items()):
        yield name, last.found


def look(installation: Installation, name: str, *, whole: bool) -> Look:
    """Verify one group; its cursors, its parameters and its head are read in this order.

    If the cursors are at the head, which is read last, then the parameters are not older than the head. Unless `whole`,
    it continues from the group's checkpoint, if that is recent enough. A result without differences becomes the next
    checkpoint.
    """
    try:
        anchors = installation.anchors.known(name).get(name, ()) if installation.anchors else ()
        cursors = installation.cursors.read(name) if installation.cursors else None
        parameters = dict(read_below(installation.ssm, f"{installation.verifier.prefix}/{name}"))
        since = _since(installation, name, whole=whole)
        verifier = installation.verifier
        found, made = verifier.verified(since, parameters=parameters, anchors=anchors, cursors=cursors)
        if made is not None and made != since and installation.checkpoints is not None:
            installation.checkpoints.keep(made)
        if not found or cursors is None:
            return Look(found=found)
        return Look(found=found, moving=_is_moving(installation, name, cursors))
    except (ClientError, BotoCoreError) as error:
        difference = Difference(what="unverified", where=name, expected="an answer of AWS", found=str(error))
        return Look(found=[Mismatch(difference=difference)])


def _is_moving(installation: Installation, name: str, cursors: Mapping[str, int]) -> bool:
    """Return True if a target is behind the head; False if the head can't be read, because then nothing is appended."""
    try:
        head = installation.ledger.stored_head(name).head.sequence
    except UNREADABLE:
        return False
    return any(cursors.get(target, 0) != head for target in names.TARGETS)


def _since(installation: Installation, name: str, *, whole: bool) -> Checkpoint:
    """Return the checkpoint to continue from; one before the first event if all events must be read."""
    now = installation.now()
    kept = None if whole or installation.checkpoints is None else installation.checkpoints.read(name)
    return Checkpoint(group=name, whole_at=now) if kept is None or kept.is_due(now) else kept


def _service(installation: Installation, parameters: Mapping[str, str]) -> list[Mismatch]:
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
        return [Mismatch(difference=difference)]
    return []
