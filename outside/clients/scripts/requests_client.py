"""requests: its own reader of lines, on both forms of stream."""

import json
import os

import requests

address = os.environ["DECODER"] + "/invocations"
body = {"inputs": "the quick", "parameters": {"max_new_tokens": 6}, "stream": True}
found = []
for accept, before in (("text/event-stream", b"data:"), ("application/jsonlines", b"")):
    with requests.post(address, json=body, headers={"Accept": accept}, stream=True, timeout=60) as answer:
        lines = [json.loads(line.removeprefix(before)) for line in answer.iter_lines() if line]
    found.append(lines[-1]["generated_text"])
assert found[0] == found[1]
