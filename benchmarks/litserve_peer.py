"""LitServe over the same model and the same engine, for benchmarks.realtime: only the server differs.

Runs in an environment of its own; what the model needs is found in the caller's, behind it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Last on the path: LitServe's own web framework must not meet another version of it. And this script's own folder not at
# all, which has another module called inference.
_here = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != _here]
sys.path += os.environ["CALLERS_PATHS"].split(os.pathsep)

import litserve  # noqa: E402 - found by the path above


class Peer(litserve.LitAPI):  # type: ignore[misc]  # it publishes no types
    """A pipeline, batched by LitServe."""

    def setup(self, device: str) -> None:
        import torch

        from inference.batch.commands import load_pipeline

        torch.set_num_threads(1)
        self.pipeline = load_pipeline(Path(sys.argv[1]), task=None, hub_id=None, hyper_params=None, approval_id=None)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe takes a type for a schema
        return request

    def predict(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = self.pipeline.task.answer([self.pipeline.parse_record(record) for record in records])
        return [dict(answer[0].fields) for answer in answers]

    def encode_response(self, output):  # type: ignore[no-untyped-def]  # as above
        return output


if __name__ == "__main__":
    api = Peer(max_batch_size=32, batch_timeout=0.02, api_path="/invocations")
    server = litserve.LitServer(api, accelerator="cpu", healthcheck_path="/ping")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
