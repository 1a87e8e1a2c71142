"""Peers that need an environment of their own, with transformers 4: the field's default container, and ONNX Runtime.

Each is a process that holds the model and computes when it is asked; its CPU seconds are those of that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from outside.environments import environment

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent / "peers"
CONTAINER, ONNX = "default container", "ONNX Runtime, float32"
Answers = list[tuple[int, ...]]


class Peer:
    """One way of a shape, computed by a peer's process."""

    def __init__(
        self, python: str, name: str, folder: Path, kind: str, work: Mapping[str, Any], read: Callable[[Any], Any]
    ) -> None:
        """Start the process and wait until its model is open.

        Raises:
            RuntimeError: it does not open.
        """
        command = [python, str(HERE / "worker.py"), name, str(folder), kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._work, self._read = json.dumps(work), read
        self.seconds, self.memory_mb = 0.0, 0
        self.versions = self._answer()

    def __call__(self) -> Answers:
        """Compute all of the work; `seconds` is then the CPU time that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(self._work + "\n")
        self._process.stdin.flush()
        found = self._answer()
        self.seconds, self.memory_mb = found["seconds"], found["memory_mb"]
        return [self._read(one) for one in found["said"]]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError(f"the peer ended with {self._process.returncode}")
        return dict(json.loads(line))


@cache
def python() -> str | None:
    """Return the Python of the peers' environment, made from its lock; None where it can't be installed."""
    torch = (ROOT / "inference" / "torch.txt").read_text(encoding="utf-8").strip()
    try:
        return environment(HERE / "requirements.txt", first=torch)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"  the default container and ONNX Runtime are left out: {error}", file=sys.stderr)
        return None


def peers(
    folder: Path,
    kind: str,
    rows: Answers,
    requests: Sequence[Mapping[str, Any]],
    most: int,
    read: Callable[[Any], Any],
    read_row: Callable[[Any], Any] = tuple,
) -> dict[str, Peer]:
    """Start both peers on a saved model, and return those that open it.

    Args:
        folder: the model and its tokenizer; the tokenizer's class is written anew, for transformers 4.
        kind: "texts", "pairs" or "continuations".
        rows: token ids, for ONNX Runtime.
        requests: the container's requests, in order.
        most: new tokens of each text.
        read: makes the container's answer comparable.
        read_row: makes a row of ONNX Runtime's comparable.
    """
    where = python()
    if where is None:
        return {}
    _old_tokenizer(folder)
    found: dict[str, Peer] = {}
    for label, name, work, how in (
        (CONTAINER, "container", {"requests": requests}, read),
        (ONNX, "onnx", {"rows": rows, "most": most}, read_row),
    ):
        try:
            found[label] = Peer(where, name, folder, kind, work, how)
        except RuntimeError as error:
            print(f"  {label}: {error}", file=sys.stderr)
    return found


def _old_tokenizer(folder: Path) -> None:
    """Name the tokenizer's class as transformers 4 knows it."""
    path = folder / "tokenizer_config.json"
    fields = json.loads(path.read_text())
    fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(fields))
