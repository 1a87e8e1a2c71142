"""A chat on this machine: takes a webhook's posts over TLS, with a certificate that its own file vouches for."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import Any, Self

from tests.certificates import speak_tls

SECRET_PATH = "/services/T0/B0/secret-address"


class Chat:
    """Keeps what was posted to `address`, and answers with `status`; `certificate` is what a client has to trust."""

    def __init__(self, folder: Path) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status, self.location = 200, ""
        chat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                known = self.path == SECRET_PATH
                if known:
                    chat.posted.append(json.loads(body))
                self.send_response(chat.status if known else 404)
                if chat.location:
                    self.send_header("Location", chat.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """pytest has enough to say."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.certificate = speak_tls(self._server, folder)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}{SECRET_PATH}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
