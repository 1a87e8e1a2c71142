"""A model measured as an inference run measures it, its metrics shown, and the model registered with them."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from examples.registering import pack, register
from inference.batch.opening import task_for
from inference.models.loading import load
from inference.records.json_lines import dump_line
from inference.scoring.score import score
from inference.tasks.pipeline import Pipeline

Record = dict[str, Any]


def write_records(folder: Path, records: Iterable[tuple[Record, Record]]) -> tuple[Path, Path]:
    """`input.jsonl` and `references.jsonl` as an inference run takes them, from records and what is expected of each."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, references = folder / "input.jsonl", folder / "references.jsonl"
    with inputs.open("wb") as asked, references.open("wb") as wanted:
        for number, (record, reference) in enumerate(records):
            asked.write(dump_line({"id": number, **record}) + b"\n")
            wanted.write(dump_line({"id": number, **reference}) + b"\n")
    return inputs, references


def measured(
    folder: Path, inputs: Path, references: Path, output: Path | None = None, *, task: str | None, baseline: Any = None
) -> dict[str, Any]:
    """Metrics of the model in `folder`, by the service's own pipeline and scoring; pictures go into `output`."""
    answered = Pipeline(task_for(load(folder, task=task))).answer_lines(inputs.read_bytes().splitlines(), stamp=True)
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch, f"{inputs.name}.out")
        outputs.write_bytes(b"".join(line + b"\n" for line in answered.lines))
        return score(outputs, references, output or Path(scratch, "score"), inputs=inputs, task=task, baseline=baseline)


def training_options(program: str, about: str | None) -> argparse.ArgumentParser:
    """The arguments that every training has."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{program}", description=(about or "").split("\n")[0])
    parser.add_argument(
        "--output", type=Path, required=True, help="the folder for the model; OUTPUT.tar.gz is written beside it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--register", metavar="GROUP", help="register it in this model package group")
    parser.add_argument("--bucket", default="promotion-models")
    parser.add_argument("--requested-by", default=os.environ.get("USER", "dee"))
    return parser


def length_options(parser: argparse.ArgumentParser) -> None:
    """How long a training takes: `seconds`, 60 by default, or `steps`."""
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="seconds of training (default 60)")
    length.add_argument("--steps", type=int, help="steps of training: the same model each time")


def publish(folder: Path, metrics: Mapping[str, Any], options: argparse.Namespace, **about: Any) -> None:
    """Print the metrics, pack the folder, and register it if the options say so; `about` is for `register`."""
    for name, value in metrics["metrics"].items():
        print(f"{name:14} {value['value']:.3f}")
    archive = pack(folder)
    print(archive)
    if options.register:
        named = {"group": options.register, "bucket": options.bucket, "requested_by": options.requested_by}
        print(register(archive, metrics, **named, **about))
