"""An HTTP server whose clients may go away: their threads end with the service, and their errors go to the log."""

from __future__ import annotations

import http.server
import logging
from typing import Any

log = logging.getLogger("local.http")


class HttpServer(http.server.ThreadingHTTPServer):
    """A server with one daemon thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the error of a connection; the standard library would print a traceback."""
        log.debug("a client went away", exc_info=True)
