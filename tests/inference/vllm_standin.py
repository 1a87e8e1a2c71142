"""A stand-in for vLLM's server: its options, GET /health, and streamed completions of the OpenAI kind.

It says back the prompt's own tokens, two a chunk, as long as it is let. What it was asked is written down, and who left.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# A prompt that ends with this token, a tilde, is never answered to its end.
ENDLESS = 96


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note({"asked": asked})
        if asked["max_tokens"] == 13:
            body = b'{"error": {"message": "unlucky", "code": 400}}'
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        tokens = (asked["prompt"] * asked["max_tokens"])[: asked["max_tokens"]]
        try:
            while asked["prompt"][-1] == ENDLESS:
                self.say(asked["prompt"][-1:], None)
                # The pace of a model, in a stream that ends when its client leaves: nothing waits for this.
                time.sleep(0.01)
            for at in range(0, len(tokens), 2):
                pair = tokens[at : at + 2]
                self.say(pair, "length" if at + 2 >= len(tokens) else None)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            note({"left": True})
        self.close_connection = True

    def say(self, tokens: list[int], reason: str | None) -> None:
        logprobs = {"token_logprobs": [-0.5] * len(tokens)}
        choice = {"index": 0, "text": "", "token_ids": tokens, "logprobs": logprobs, "finish_reason": reason}
        self.wfile.write(b"data: " + json.dumps({"object": "text_completion", "choices": [choice]}).encode() + b"\n\n")


def note(what: dict[str, Any]) -> None:
    with Path(os.environ["STANDIN_NOTES"]).open("a") as notes:
        notes.write(json.dumps(what) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("model", "served-model-name", "host", "port", "tensor-parallel-size", "max-model-len"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    note({"options": vars(options), "pid": os.getpid()})
    if os.environ.get("STANDIN_FAILS"):
        sys.exit("CUDA out of memory: no room for the model")
    ThreadingHTTPServer((options.host, int(options.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
