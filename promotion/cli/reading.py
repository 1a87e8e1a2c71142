"""`promotion status` and `promotion history`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from promotion import names
from promotion.cli.service import config, config_of, installation, ledger, open_differences, refused_mail
from promotion.cli.tables import print_line, table
from promotion.domain.model import EndpointState, EnvironmentState
from promotion.domain.pending import STOPS
from promotion.errors import UNREADABLE, Invalid
from promotion.formatting import counted, one_line
from promotion.ledger.archive import in_use
from promotion.ledger.chain import read_chain
from promotion.ledger.events import Event, OpenDifferences, RefusedMail, check_chain
from promotion.ledger.parameter_documents import entry
from promotion.rendering.documents.card import requester_address
from promotion.rendering.documents.troubles import troubles
from promotion.rendering.sentences import sentence


def status(group: str | None, *, as_json: bool) -> int:
    """Print the live and the pending version of each environment."""
    unreadable: list[str] = []
    states = [state for state in ledger().environments(unreadable) if group is None or state.group == group]
    broken = sorted({name for name in unreadable if group in (None, name)})
    for name in broken:
        print(
            f"promotion: {one_line(name)}: its states can't be read: promotion verify {one_line(name)}", file=sys.stderr
        )
    if group is not None and not states and not broken:
        raise Invalid("GROUP", f"this service knows no model package group {group}.")
    order = _order()
    differences = {name: found for name, found in open_differences().items() if group in (None, name)}
    states.sort(key=lambda state: (state.group, order.index(state.name) if state.name in order else len(order)))
    if as_json:
        print(json.dumps([_document(state, differences) for state in states], indent=2))
        return 1 if broken else 0
    rows = [("GROUP", "ENVIRONMENT", "LIVE", "SINCE", "BY", "WAITING", "TROUBLE")]
    rows += [
        (
            state.group,
            state.name,
            f"v{state.live}" if state.live is not None else ("revoked" if state.revoked else "-"),
            f"{state.live_since:%Y-%m-%d %H:%M}" if state.live_since else "-",
            ", ".join(state.live_by) or "-",
            _waiting(state),
            _trouble(state),
        )
        for state in states
    ]
    table(rows)
    for name, found in differences.items():
        print(
            one_line(
                f"{name}: {counted(found.count, 'difference')} since {found.since:%Y-%m-%d %H:%M}, {found.lines[0]}",
                400,
            )
        )
    for each in filter(_is_named, refused_mail(group)):
        about = f"v{each.version}" if each.version else "it"
        print(
            one_line(
                f"{each.group}: SES refused mail to {each.address} about {about} ({each.at:%Y-%m-%d %H:%M}): {each.reason}",
                400,
            )
        )
    for state in states:
        if state.endpoint.status or state.endpoint.removed:
            print(one_line(f"{state.group} in {state.name}: {endpoint_line(state.endpoint)}", 1000))
    return 1 if broken else 0


def _is_named(refused: RefusedMail) -> bool:
    """Return True if the configuration, or a version that is live, pending or the newest, still names the address.

    Also True if no configuration can be read.
    """
    try:
        settings = config_of(refused.group)
        rules = [settings.environment(name, refused.group) for name in settings.environment_names]
        used, versions = in_use(ledger().view(refused.group)), ledger().versions(refused.group)
    except UNREADABLE:
        return True
    newest = max((state.version for state in versions), default=0)
    named = [address for each in rules for address in (*each.approvers, *each.stakeholders)]
    named += [requester_address(state.package) for state in versions if state.version in {*used, newest}]
    return refused.address.casefold() in {address.casefold() for address in named}


def _order() -> list[str]:
    """Return the names of the environments in order: the configuration's, or without one the deployed ones."""
    try:
        return list(config().environment_names)
    except Invalid:
        return list(installation().get("inference_machines") or ())


def endpoint_line(endpoint: EndpointState) -> str:
    """Return the last recorded state of an endpoint in one line."""
    serves = f"serves v{endpoint.version}" if endpoint.version is not None else "serves nothing"
    if endpoint.removed:
        return f"the endpoint was removed{', and still ' + serves if endpoint.version is not None else ''}."
    if endpoint.status == names.ENDPOINT_FAILED:
        return f"the endpoint {endpoint.name} failed and {serves}: {endpoint.problem}"
    return f"the endpoint {endpoint.name or ''} {serves if endpoint.version is not None else 'was withdrawn'}.".replace(
        "  ", " "
    )


def history(group: str, version: int | None, *, as_json: bool, as_csv: bool = False) -> int:
    """Print every event in order, after the chain was verified up to its head."""
    head, events = read_chain(ledger(), group)
    if not events:
        raise Invalid("GROUP", f"this service knows no model package group {group}.")
    check_chain(events, head)
    shown = [event for event in events if version is None or event.version == version]
    if not shown:
        raise Invalid("--version", f"{group} has no version {version} that this service knows of.")
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return 0
    if as_csv:
        _csv(shown)
        return 0
    for event in shown:
        print_line(f"{event.sequence:>5}  {event.time:%Y-%m-%d %H:%M:%S}  {sentence(event)}  [{event.hash[:10]}]")
    return 0


def _csv(events: Sequence[Event]) -> None:
    columns = ("sequence", "time", "kind", "version", "environment", "actor", "verdict", "reason", "hash", "said")
    rows = csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")
    rows.writeheader()
    for event in events:
        row = {**entry(event), "version": event.version, "said": sentence(event)}
        rows.writerow({name: _cell(row.get(name)) for name in columns})


def _cell(value: object) -> str:
    """Return a value for a spreadsheet; text that a spreadsheet would read as a formula is escaped."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _document(state: EnvironmentState, differences: Mapping[str, OpenDifferences]) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(state)
    differing = msgspec.to_builtins(differences[state.group]) if state.group in differences else None
    return {**found, "model_package_group": state.group, "environment": state.name, "differences": differing}


def _trouble(state: EnvironmentState) -> str:
    """Name the problems of the live version, and a retraining that was started."""
    said = [f"{each['word']} since {_minute(each['since'])}" for each in troubles(state)]
    if state.drift and state.drift_since and state.retrained_at and state.retrained_at >= state.drift_since:
        said.append(f"retraining started {state.retrained_at:%Y-%m-%d %H:%M}")
    return ", ".join(said) or "-"


def _minute(since: str | None) -> str:
    return f"{datetime.fromisoformat(since):%Y-%m-%d %H:%M}" if since else "an unknown time"


def _waiting(state: EnvironmentState) -> str:
    if state.pending is None:
        last = state.closed
        by = f" by {last.by}" if last is not None and last.by else ""
        return f"v{last.version} {last.state.lower()} {last.at:%Y-%m-%d %H:%M}{by}" if last is not None else "-"
    gates = (
        f", {STOPS[state.pending_stop]}"
        if state.pending_stop
        else ""
        if state.pending_gates_open
        else ", a gate failed"
    )
    since = f" since {state.pending_since:%Y-%m-%d %H:%M}" if state.pending_since else ""
    return f"v{state.pending}{since}{gates}"
