"""The local service's own pages: the mailbox, and the form that advances time."""

from __future__ import annotations

import json
import re
from html import escape

from local.beginning import HTML, Beginning
from local.clock import Clock
from local.mailbox import Mail, Mailbox
from local.payload import IncomingRequest, Response, message

_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))
_HTML = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-src 'self'"),
)
# A mail has its own style and pictures, but must run no scripts and send no requests.
_MAIL_HTML = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox allow-popups "
        "allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation",
    ),
)
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --chosen: #4a7dff1f }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.45 system-ui, sans-serif; height: 100vh; display: grid;
  grid-template-columns: minmax(18rem, 26rem) 1fr }
nav { overflow-y: auto; border-right: 1px solid var(--line) }
nav h1 { font-size: 1.05rem; margin: 0; padding: .9rem 1rem; border-bottom: 1px solid var(--line) }
nav a { display: block; padding: .7rem 1rem; border-bottom: 1px solid var(--line); color: inherit; text-decoration: none }
nav a:hover, nav a[aria-current] { background: var(--chosen) }
nav strong { display: block; font-weight: 600; overflow-wrap: anywhere }
.quiet, nav small { color: var(--quiet) }
main { display: flex; flex-direction: column; min-width: 0; height: 100vh }
header { padding: .9rem 1.2rem; border-bottom: 1px solid var(--line) }
header h2 { margin: 0 0 .3rem; font-size: 1.15rem; overflow-wrap: anywhere }
iframe { flex: 1; border: 0; width: 100%; background: #fff }
.empty { padding: 2rem }
nav h1 a { display: inline; padding: 0 0 0 .5rem; border: 0; font-weight: 400; text-decoration: underline }
.back { display: none; margin: 0; padding: .9rem 1.2rem 0 }
@media (max-width: 700px) {
  body { display: block; height: auto } nav { border: 0 } main { height: auto } iframe { min-height: 90vh }
  /* One thing at a time: the list, or the mail that was opened. */
  body.opened nav, body:not(.opened) main { display: none }
  .back { display: block }
}
"""


class OwnPages:
    """Answer requests under /_local/."""

    def __init__(self, mailbox: Mailbox, clock: Clock, begin: Beginning) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._begin = begin

    def answer(self, request: IncomingRequest) -> Response | None:
        path = request.path.removeprefix("/_local/")
        if request.method in {"GET", "HEAD"}:
            if path == "":
                return Response(200, self._begin.page().encode(), HTML)
            if path == "mailbox.json":
                mails = [mail.described() for mail in self._mailbox.newest_first()]
                return Response(200, json.dumps(mails, ensure_ascii=False).encode(), _JSON)
            if path == "clock":
                return Response(200, json.dumps({"offset_seconds": self._clock.offset_seconds}).encode(), _JSON)
            if found := re.fullmatch(r"mailbox(?:/(\d+))?", path):
                return self._page(int(found[1]) if found[1] else None)
            if found := re.fullmatch(r"mailbox/(\d+)/(html|attachments/(\d+))", path):
                return self._part(int(found[1]), int(found[3]) if found[3] else None)
        if request.method == "POST" and path == "clock":
            return self._advance(request)
        if request.method == "POST" and path == "sample":
            return self._begin.sample(request)
        return None

    def _advance(self, request: IncomingRequest) -> Response:
        try:
            seconds = json.loads(request.body)["advance_seconds"]
            offset = self._clock.advance(float(seconds))
        except (ValueError, KeyError, TypeError) as wrong:
            return message(400, f'Send {{"advance_seconds": n}}: {wrong}')
        return Response(200, json.dumps({"offset_seconds": offset}).encode(), _JSON)

    def _part(self, number: int, attachment: int | None) -> Response:
        mail = self._mailbox.get(number)
        if mail is None or (attachment is not None and attachment >= len(mail.attachments)):
            return message(404, "Not Found")
        if attachment is not None:
            part = mail.attachments[attachment]
            headers = [("content-type", part.content_type), ("x-content-type-options", "nosniff")]
            if not part.content_type.startswith("image/") or part.content_type == "image/svg+xml":
                headers.append(("content-disposition", "attachment"))
            return Response(200, part.content, headers)
        html = mail.html or f"<pre style='white-space: pre-wrap'>{escape(mail.text)}</pre>"
        for index, each in enumerate(mail.attachments):
            if each.content_id:
                html = html.replace(f"cid:{each.content_id}", f"/_local/mailbox/{number}/attachments/{index}")
        # Open links outside the frame.
        return Response(200, f'<base target="_blank">{html}'.encode(), _MAIL_HTML)

    def _page(self, chosen: int | None) -> Response:
        mails = self._mailbox.newest_first()
        opened = " class='opened'" if chosen is not None else ""
        if chosen is None and mails:
            chosen = mails[0].number
        shown = next((mail for mail in mails if mail.number == chosen), None)
        listed = "".join(_line(mail, mail is shown) for mail in mails) or "<p class='empty quiet'>No mail yet.</p>"
        page = (
            "<!doctype html><html lang='en'><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>Mailbox ({len(mails)})</title><style>{_STYLE}</style>"
            f"<body{opened}><nav aria-label='Mails'><h1>Mailbox <small>({len(mails)})</small> "
            f"<a href='/_local/'>Overview</a></h1>{listed}</nav>"
            f"<main><p class='back'><a href='/_local/mailbox'>All mails</a></p>{_shown(shown)}</main></body></html>"
        )
        return Response(200, page.encode(), _HTML)


def _line(mail: Mail, current: bool) -> str:
    mark = " aria-current='true'" if current else ""
    return (
        f"<a href='/_local/mailbox/{mail.number}'{mark}><strong>{escape(mail.subject)}</strong>"
        f"<small>to {escape(', '.join(mail.to))}<br>{mail.sent_at:%Y-%m-%d %H:%M:%S} UTC</small></a>"
    )


def _shown(mail: Mail | None) -> str:
    if mail is None:
        return "<p class='empty quiet'>Mails that the service sends appear here. Register a model package, then reload.</p>"
    attached = ", ".join(
        f"<a href='/_local/mailbox/{mail.number}/attachments/{index}'>{escape(each.filename or each.content_type)}</a>"
        for index, each in enumerate(mail.attachments)
    )
    return (
        f"<header><h2>{escape(mail.subject)}</h2><div class='quiet'>from {escape(mail.sender)} to {escape(', '.join(mail.to))}, "
        f"{mail.sent_at:%Y-%m-%d %H:%M:%S} UTC{' · ' + attached if attached else ''}</div></header>"
        f"<iframe title='The mail' src='/_local/mailbox/{mail.number}/html' "
        "sandbox='allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation'></iframe>"
    )
