"""A small version of SageMaker's runtime API in front of this project's server, for its real clients.

It checks no signature. `/endpoints/NAME/invocations` is passed on whole, `…/invocations-response-stream` in frames of the
event stream, as it comes.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local.aws import event_stream

_CHUNK = 1_000


def proxy(ports: Mapping[str, int]) -> ThreadingHTTPServer:
    """Start to pass requests on to the ports of endpoints by name, on a thread of its own."""

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            _, _, name, kind = self.path.split("?")[0].split("/")
            streams = kind == "invocations-response-stream"
            accept = self.headers.get("X-Amzn-SageMaker-Accept" if streams else "Accept")
            headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
            connection = http.client.HTTPConnection("127.0.0.1", ports[name], timeout=60)
            connection.request("POST", "/invocations", body, {**headers, **({"Accept": accept} if accept else {})})
            answer = connection.getresponse()
            if answer.status != 200:
                self._failed(answer)
            elif streams:
                self._streamed(answer)
            else:
                self._whole(200, answer.read(), answer.getheader("Content-Type", ""))
            connection.close()

        def _failed(self, answer: http.client.HTTPResponse) -> None:
            said = {"Message": answer.read().decode(), "OriginalStatusCode": answer.status}
            self._whole(424, json.dumps(said).encode(), "application/json", ("x-amzn-errortype", "ModelError"))

        def _whole(self, status: int, content: bytes, kind: str, *more: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *more):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _streamed(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.amazon.eventstream")
            self.send_header("X-Amzn-SageMaker-Content-Type", answer.getheader("Content-Type", ""))
            self.send_header("Connection", "close")
            self.end_headers()
            while chunk := answer.read1(_CHUNK):
                self.wfile.write(event_stream.event("PayloadPart", chunk))
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the standard library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
