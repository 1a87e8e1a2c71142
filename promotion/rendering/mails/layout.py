"""The content of a mail (a letter), rendered as HTML for old mail programs, as equivalent text, and as raw MIME."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Sequence
from datetime import datetime
from email import policy
from email.headerregistry import Address, BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace

from promotion import formatting
from promotion.formatting import number, one_line
from promotion.rendering.documents.rows import GateDocument, MetricRow

# Gmail clips a longer mail, and with it the end of the evidence: https://support.google.com/mail/answer/6594.
LARGEST_HTML_BYTES = 100_000
LONGEST_SUBJECT = 160
LONGEST_LINE = 990  # of 998 that RFC 5322 allows
ROWS_SHOWN = 6
FACTS_SHOWN = 5
TEXT_WIDTH = 76


class _HeaderClasses(HeaderRegistry):
    """The classes of headers by name, each made once; the standard registry makes one for each header of each mail."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, type[BaseHeader]] = {}

    def __getitem__(self, name: str) -> type[BaseHeader]:
        if name not in self._made:
            self._made[name] = super().__getitem__(name)
        return self._made[name]


SMTP = policy.SMTP.clone(header_factory=_HeaderClasses())

Picture = tuple[str, str, bytes, str]
Tone = Literal["ask", "stopped", "good", "bad", "calm"]


class Letter(Struct, frozen=True, kw_only=True):
    """Content of a mail, before it is rendered as HTML or text; empty parts are omitted.

    A mail has one button, and at most FACTS_SHOWN `problems` and `facts` together; the page has everything else. `rows`
    are the metrics (promotion.rendering.documents.evidence.comparison), drawn as bars if there is no picture of them.
    `gates` are those about no metric, for chats. `entries` are the items of a digest, each with the address of its
    page.
    """

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str
    tone: Tone
    eyebrow: str
    headline: str
    intro: Sequence[str]
    action: tuple[str, str]
    action_note: str = ""
    quote: str = ""
    version: int | None = None
    live: int | None = None
    rows: Sequence[MetricRow] = ()
    gates: Sequence[GateDocument] = ()
    problems: Sequence[str] = ()
    pictures: tuple[Picture, ...] = ()
    lost_pictures: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    samples: Sequence[dict[str, object]] = ()
    entries: Sequence[tuple[str, str]] = ()
    why: str = ""


class Message(Struct, frozen=True, kw_only=True):
    """A rendered mail without its sender.

    `thread` is a synthetic id of a model version, so that mail programs show its mails in one thread: SES replaces
    Message-ID, but keeps References. `pictures` are (content id, file name, PNG, alternative text).
    """

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str
    text: str
    html: str
    thread: str
    message_id: str
    date: datetime
    pictures: tuple[Picture, ...] = ()


def written(letter: Letter, *, thread: str, message_id: str, date: datetime) -> Message:
    """Render a letter as a message. If it is too long for mail programs, the least important parts are omitted."""
    html = _html(letter)
    spared: dict[str, Any]
    for spared in ({"samples": ()}, {"facts": letter.facts[-1:]}, {"rows": letter.rows[:2]}):
        if len(html.encode()) <= LARGEST_HTML_BYTES:
            break
        letter = replace(letter, **spared)
        html = _html(letter)
    return Message(
        to=letter.to,
        cc=letter.cc,
        subject=_header(letter.subject),
        text=_text(letter),
        html=html,
        thread=thread,
        message_id=message_id,
        date=date,
        pictures=letter.pictures,
    )


def mime(message: Message, sender: str, *, reply_to: str | None = None) -> bytes:
    """Return the raw MIME message: text, the same content as HTML, and the pictures in the HTML."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address("Model promotion", addr_spec=sender)
    mail["To"] = [Address(addr_spec=address) for address in message.to]
    if message.cc:
        mail["Cc"] = [Address(addr_spec=address) for address in message.cc]
    if reply_to:
        mail["Reply-To"] = Address(addr_spec=reply_to)
    mail["Subject"] = _header(message.subject)
    mail["Date"] = format_datetime(message.date)
    mail["Message-ID"] = f"<{message.message_id}@{domain}>"
    mail["In-Reply-To"] = f"<{message.thread}@{domain}>"
    mail["References"] = f"<{message.thread}@{domain}>"
    # Suppress automatic replies: RFC 3834, and Exchange's own header.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(message.text, cte="quoted-printable")
    mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    _, html = mail.iter_parts()
    for content_id, name, data, _ in message.pictures:
        html.add_related(data, "image", "png", cid=f"<{content_id}>", filename=name, disposition="inline")
    # Fixed boundaries, so that the same letter is the same bytes each time it is sent.
    for index, part in enumerate(part for part in mail.walk() if part.is_multipart()):
        part.set_boundary(f"=_{message.message_id}.{index}")
    # With folding at 78, a subject of 75 characters begins on a new line, and mail programs that sort see a space
    # before it. RFC 2047 encoded words must be folded in any case.
    return mail.as_bytes(policy=SMTP.clone(max_line_length=LONGEST_LINE) if message.subject.isascii() else SMTP)


def _header(text: str) -> str:
    """Return text that is safe in a header: one line, without sequences that look like RFC 2047 encoded words."""
    return one_line(text, LONGEST_SUBJECT).replace("=?", "= ?")


def _html(letter: Letter) -> str:
    return _encodable(_environment(html=True).get_template("mail/letter.html").render(_shown(letter)))


def _text(letter: Letter) -> str:
    lines = _environment(html=False).get_template("mail/letter.txt").render(_shown(letter)).split("\n")
    return _encodable("\n".join(line.rstrip() for line in lines).rstrip() + "\n")


def _shown(letter: Letter) -> dict[str, object]:
    """Return the templates' data: the mail, with long lists truncated and the number left out."""
    failed_first = sorted(letter.rows, key=lambda row: row["open"] is not False)
    # The last fact, which is the deadline, is always shown.
    room = FACTS_SHOWN - len(letter.problems)
    facts = letter.facts if len(letter.facts) <= room else [*letter.facts[: max(0, room - 1)], *letter.facts[-1:]]
    return {
        "l": letter,
        "rows": () if letter.pictures else failed_first[:ROWS_SHOWN],
        "rows_left_out": max(0, len(letter.rows) - ROWS_SHOWN),
        "facts": facts,
    }


def _encodable(text: str) -> str:
    # A lone surrogate can't be encoded; it is replaced rather than refused, because the mail must be sent.
    return text.encode("utf-8", errors="replace").decode()


def bar(row: MetricRow) -> list[tuple[int, str]]:
    """Return a metric's bar as table cells, (percent of the width, kind), which every mail program can draw.

    Cells are `fill`, `bound` (the line at which the gate fails), `lack` (the gap up to the bound) and `rest`.
    """
    scale, value = row["scale"], row["candidate"]["value"]
    if not scale or value is None:
        return []
    filled = max(0, min(100, round(100 * value / scale["end"])))
    bound = None if scale["bound"] is None else max(1, min(99, round(100 * scale["bound"] / scale["end"])))
    if bound is None:
        cells = [(filled, "fill"), (100 - filled, "rest")]
    elif filled < bound:
        between = "rest" if row["lower_is_better"] else "lack"
        cells = [(filled, "fill"), (bound - filled, between), (1, "bound"), (99 - bound, "rest")]
    else:
        cells = [
            (bound, "fill"),
            (1, "bound"),
            (max(0, filled - bound - 1), "fill"),
            (min(99 - bound, 100 - filled), "rest"),
        ]
    return [cell for cell in cells if cell[0] > 0]


@functools.cache
def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=html,  # noqa: S701 - the other is plain text, where escapes would be read as they stand
        undefined=StrictUndefined,
        finalize=formatting.seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "counted": formatting.counted,
        "listed": formatting.listed,
        "wrapped": _wrapped,
        "lines": _lines,
    }
    environment.globals |= {"bar": bar}
    return environment


def _wrapped(text: str, indent: str = "") -> str:
    """Wrap paragraphs at the usual width of quoted mail, without breaking links."""
    return "\n".join(
        textwrap.fill(
            line,
            TEXT_WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _lines(text: str) -> Markup:
    return Markup("<br>").join(text.split("\n"))
