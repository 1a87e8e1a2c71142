"""The mails that SES would have sent, newest first."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import re
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import getaddresses
from html import unescape
from typing import Any

from moto.ses.models import ses_backends

from local import ACCOUNT, REGION

_HREF = re.compile(r"href\s*=\s*[\"'](https?://[^\"']+)[\"']", re.IGNORECASE)
_BARE = re.compile(r"https?://[^\s<>\"')\]]+")


@dataclass(frozen=True)
class Attachment:
    filename: str
    content_type: str
    content_id: str
    content: bytes
    inline: bool


@dataclass(frozen=True)
class Mail:
    """One mail as its recipients get it."""

    number: int
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    attachments: tuple[Attachment, ...]
    sent_at: dt.datetime

    @property
    def links(self) -> list[str]:
        """Return the absolute links, each once; the one to an approval request first."""
        found = [unescape(link) for link in _HREF.findall(self.html)] + [
            link.rstrip(".,;") for link in _BARE.findall(self.text)
        ]
        unique = list(dict.fromkeys(found))
        return sorted(unique, key=lambda link: "/approvals/" not in link)

    def described(self) -> dict[str, Any]:
        """Return the mail as /_local/mailbox.json lists it."""
        return {
            "number": self.number,
            "from": self.sender,
            "to": list(self.to),
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "links": self.links,
            "attachments": [
                {
                    "filename": each.filename,
                    "content_type": each.content_type,
                    "content_id": each.content_id,
                    "size": len(each.content),
                    "inline": each.inline,
                    "url": f"/_local/mailbox/{self.number}/attachments/{index}",
                }
                for index, each in enumerate(self.attachments)
            ],
            "headers": self.headers,
            "sent_at": self.sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


class Mailbox:
    """Store each mail when moto has accepted it, with the time."""

    def __init__(self) -> None:
        self._mails: list[Mail] = []
        self._taken = 0
        self._lock = threading.Lock()

    def take_new(self) -> None:
        """Store new mails; called after each successful SendEmail."""
        with self._lock:
            sent = ses_backends[ACCOUNT][REGION].sent_messages
            for message in sent[self._taken :]:
                self._mails.append(parse(message, len(self._mails) + 1, dt.datetime.now(dt.UTC)))
            self._taken = len(sent)

    def newest_first(self) -> list[Mail]:
        with self._lock:
            return self._mails[::-1]

    def get(self, number: int) -> Mail | None:
        with self._lock:
            return self._mails[number - 1] if 0 < number <= len(self._mails) else None


def parse(message: Any, number: int, sent_at: dt.datetime) -> Mail:
    """Parse a mail stored by moto: the MIME of a raw mail, or the parts of a simple one."""
    raw = getattr(message, "raw_data", None)
    if raw is None:
        destinations = [address for listed in message.destinations.values() for address in listed]
        return Mail(
            number, message.source, tuple(destinations), message.subject, message.body, message.body, {}, (), sent_at
        )
    parsed = email.message_from_bytes(raw.encode(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    addressed = [str(value) for name in ("to", "cc") for value in parsed.get_all(name, [])]
    to = [address for _, address in getaddresses(addressed)] or [
        address for _, address in getaddresses(message.destinations)
    ]
    text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    return Mail(
        number=number,
        sender=str(parsed["from"]),
        to=tuple(dict.fromkeys(to)),
        subject=str(parsed["subject"]),
        text=text.get_content() if text is not None else "",
        html=html.get_content() if html is not None else "",
        headers={name: str(value) for name, value in parsed.items()},
        attachments=tuple(_attachments(parsed)),
        sent_at=sent_at,
    )


def _attachments(parsed: EmailMessage) -> list[Attachment]:
    bodies = {id(parsed.get_body((kind,))) for kind in ("plain", "html")}
    found = []
    for part in parsed.walk():
        if part.is_multipart() or id(part) in bodies:
            continue
        content = part.get_payload(decode=True)
        found.append(
            Attachment(
                filename=part.get_filename() or "",
                content_type=part.get_content_type(),
                content_id=str(part.get("content-id", "")).strip("<>"),
                content=content if isinstance(content, bytes) else b"",
                inline=part.get_content_disposition() == "inline" or "content-id" in part,
            )
        )
    return found
