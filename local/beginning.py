"""/_local/: contents, people, variables to export, and a button that registers a sample model."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from local import sample
from local.payload import IncomingRequest, Response, message
from local.ports import Ports
from local.welcome import PEOPLE, environment

HTML = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
)
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1.5rem 1.25rem }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: 8px; font-size: .875rem }
button { font: inherit; padding: .6rem 1.1rem; border-radius: 8px; border: 1px solid #8888; cursor: pointer }
li { margin: .35rem 0 }
"""


class Beginning:
    """The start page for newcomers."""

    def __init__(self, ports: Ports, home: Path, client: Callable[[str], Any]) -> None:
        self._ports = ports
        self._home = home
        self._client = client

    def page(self, said: str = "") -> str:
        """Return the page as HTML, with the message `said` at the top."""
        exports = "\n".join(f"export {name}={value}" for name, value in environment(self._ports, self._home).items())
        links = [
            ("/", "The board", "what is live where, what waits for you"),
            ("/_local/mailbox", "The mailbox", "the mails that the service sends"),
            ("/_local/mailbox.json", "The mailbox as JSON", "for scripts"),
            ("/healthz", "Health", "all servers answer"),
        ]
        listed = "".join(f"<li><a href='{address}'>{name}</a>: {what}</li>" for address, name, what in links)
        return (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>Model promotion on this machine</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>Model promotion on this machine</h1>{said}"
            "<form method='post' action='/_local/sample'><button>Register a sample model</button></form>"
            "<p>It is mailed to its approvers: open the mailbox, follow the link, sign in as <b>ann</b>, and decide.</p>"
            f"<h2>Pages</h2><ul>{listed}</ul>"
            f"<h2>People</h2><p>The password is the name. {escape(PEOPLE)}.</p>"
            f"<h2>Shell</h2><p>These point any AWS client, and the command, here.</p><pre>{escape(exports)}</pre>"
            f"<p>Logs are in {escape(str(self._home / 'logs'))}; docs/local.md says the rest.</p></main></body></html>"
        )

    def sample(self, request: IncomingRequest) -> Response:
        """Register one more version of the sample; accepted only from this page's form."""
        headers = dict(request.headers)
        if headers.get("origin", self._ports.http_url) not in (
            self._ports.http_url,
            f"http://localhost:{self._ports.http}",
        ):
            return message(403, "This form comes from another site.")
        version = sample.register(self._client).rpartition("/")[2]
        said = (
            f"<p role='status'>Registered <b>{sample.GROUP} v{version}</b>. Its mail is in the "
            f"<a href='/_local/mailbox'>mailbox</a> in a moment; its page is <a href='/models/{sample.GROUP}'>here</a>.</p>"
        )
        return Response(200, self.page(said).encode(), HTML)
