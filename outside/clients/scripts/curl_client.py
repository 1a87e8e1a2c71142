"""curl: every route, as one tries them by hand."""

import json
import os
import subprocess

address = os.environ["DECODER"]


def curl(path, body=None, *options):
    data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "%{http_code}", *options, *data, address + path],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout[-3:]), done.stdout[:-3]


for path in ("/ping", "/health", "/info", "/v1/models", "/metrics", "/execution-parameters"):
    assert curl(path)[0] == 200, path
tgi = {"inputs": "the quick", "parameters": {"max_new_tokens": 6}}
status, text = curl("/generate", tgi)
assert (status, text[-1]) == (200, "\n")
generated = json.loads(text)["generated_text"]
assert json.loads(curl("/", tgi)[1]) == [{"generated_text": generated}]
assert (
    generated
    in json.loads(curl("/generate_stream", tgi)[1].strip().split("\n\n")[-1].removeprefix("data:"))["generated_text"]
)
assert (
    json.loads(curl("/v1/completions", {"prompt": "the quick", "max_tokens": 6})[1])["choices"][0]["text"] == generated
)
status, text = curl("/v1/completions", {"prompt": "a", "logprobs": 5})
assert (status, json.loads(text)["error"]["param"]) == (400, "logprobs")
status, text = curl("/invocations", {**tgi, "parameters": {"typical_p": 0.5}})
assert (status, json.loads(text)["error"].split(":")[0]) == (400, "typical_p")
