"""The local service's health: the address of AWS answers, and the identity provider if it is ours."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from local.host import trouble
from local.http_server import HttpServer


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/moto-api/" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def aws_url() -> Iterator[str]:
    server = HttpServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("provider", "expected"), [(None, None), (True, None), (False, "the identity provider does not answer")]
)
def test_our_identity_provider_must_answer(aws_url: str, provider: bool | None, expected: str | None) -> None:
    ours: Any = SimpleNamespace(is_healthy=lambda: provider) if provider is not None else None
    assert trouble(aws_url, ours) == expected


def test_aws_must_answer_and_not_with_an_error(aws_url: str) -> None:
    assert trouble(f"{aws_url}/broken", None) == "AWS does not answer"
    assert trouble("http://127.0.0.1:1", None) == "AWS does not answer"
