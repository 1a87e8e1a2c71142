"""The board's cells as HTML. A large board has thousands, and building them here takes a third of a template's time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape

from markupsafe import Markup

from promotion.formatting import ago
from promotion.links.urls import path_of
from promotion.rendering.documents.rows import Cell, Cells

NOTHING = '<span class="gone"><span aria-hidden="true">–</span><span class="unseen">nothing live</span></span>'
WRITING = ' <span class="small">being written to Parameter Store</span>'
THEN_LIVE = ' <span class="small">being written to Parameter Store, then live</span>'
# The possible action for a closed request, on its page.
_AGAIN = " · ask again"
_ASKS = {"expired": ("idle", "expired"), "open": ("open", "pending"), "shut": ("shut", "gate failed")}


def cells(row: Cells, now: str, signs: Mapping[str, str]) -> Markup:
    """Build the environments of a group: live version, its problems, and the pending version.

    `signs` are the icons `shut` and `warn`.
    """
    at = datetime.fromisoformat(now)
    # Untrusted names and addresses are escaped where they are inserted.
    return Markup("".join(_cell(cell, at, signs) for cell in row["environments"]))  # noqa: S704


def _cell(cell: Cell, now: datetime, signs: Mapping[str, str]) -> str:
    name, pending, last = escape(cell["name"]), cell["pending"], cell["closed"]
    said = [f'<td role="cell" data-label="{name}">', _live(cell, now) or ("" if pending or last else NOTHING)]
    for each in cell["troubles"]:
        since = f' <span class="small">{ago(each["since"], now)}</span>' if each["since"] else ""
        said.append(f'<span class="gate shut">{signs[each["tone"]]} {each["word"]}{since}</span>')
    if cell["retraining_since"]:
        said.append(f'<span class="small muted">retraining {ago(cell["retraining_since"], now)}</span>')
    if pending:
        kind, words = _ASKS["expired" if pending["expired"] else "open" if pending["gates_open"] else "shut"]
        if pending["stopped"] and not pending["expired"]:
            kind, words = "shut", escape(pending["stopped"].partition(",")[0])
        way = _AGAIN if pending["again"] else ""
        said.append(
            _ask(kind, f"v{pending['version']} {words}", name, pending["link"], ago(pending["since"], now) + way)
        )
    elif last:
        by = f", <bdi>{escape(last['by'])}</bdi>" if last["by"] else ""
        text = f"v{last['version']} {last['state'].lower()}"
        said.append(
            _ask("idle", text, name, last["link"], ago(last["at"], now) + by + (_AGAIN if last["again"] else ""))
        )
    said.append("</td>\n")
    return "".join(said)


def _ask(kind: str, text: str, place: str, link: str, details: str) -> str:
    return (
        f'<a class="ask {kind}" href="{escape(path_of(link))}">{text}<span class="unseen"> for {place}</span> '
        f'<span class="small">{details}</span></a>'
    )


def _live(cell: Cell, now: datetime) -> str:
    if cell["live"] is None:
        return f'<span class="badge bad">revoked</span>{"" if cell["written"] else WRITING}' if cell["revoked"] else ""
    by = cell["by"]
    who = f", <bdi>{escape(by[0])}</bdi>" if by else ""
    more = f" +{len(by) - 1}" if len(by) > 1 else ""
    return (
        f'<span class="live-version">v{cell["live"]}</span> '
        f'<span class="small muted">{ago(cell["since"], now) if cell["since"] else ""}{who}{more}</span>'
        f"{'' if cell['written'] else THEN_LIVE}"
    )
