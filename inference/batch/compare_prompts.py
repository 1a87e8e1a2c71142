"""Compare prompts: answer the same data with each template and number of examples, score it, and draw the scores."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inference.errors import RecordInvalid
from inference.records.json_lines import split_lines
from inference.records.prompt_templates import MOST_SHOTS, Prompts
from inference.records.requests import decode_record
from inference.scoring.metrics import Estimate
from inference.scoring.plots import Compared, draw_comparison
from inference.scoring.score import score
from inference.tasks.pipeline import Pipeline
from promotion.errors import Invalid

SCHEMA = 1
# The default metric: the first of these that could be measured.
_PRIMARY = ("rougeL", "accuracy", "exact_match")
_AT_ONCE = 64

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A template and a number of examples; None for the template's own number."""

    template: str
    shots: int | None

    @property
    def name(self) -> str:
        return self.template if self.shots is None else f"{self.template}-{self.shots}-shots"


def command(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`python -m inference compare-prompts`."""
    from inference.batch.commands import open_pipeline

    shots = _shots(options.shots)
    pipeline = open_pipeline(options, environment)
    if options.prompts is not None:
        if not options.prompts.is_dir():
            raise Invalid("--prompts", f"{options.prompts} is no folder.")
        pipeline.prompts = Prompts.of(options.prompts)
    names = [name.strip() for name in (options.templates or "").split(",") if name.strip()] or pipeline.prompts.names
    for name in names:
        pipeline.prompts.named(name)
    if not names:
        raise Invalid("--templates", "there is no template: neither the artifact nor --prompts has any.")
    candidates = [Candidate(name, number) for name in names for number in shots]
    document = compare(
        pipeline, candidates, options.input, options.references, options.output,
        metric=options.metric, task=options.task, reference_field=options.reference_field, quiet=options.quiet,
    )  # fmt: skip
    for place in document["candidates"]:
        one = place["metrics"][document["metric"]]
        print(f"{place['name']:32} {one['value']:.4f}  ({one['low']:.4f} to {one['high']:.4f}, n {one['n']})")
    return 0


def compare(
    pipeline: Pipeline,
    candidates: Sequence[Candidate],
    inputs: Path,
    references: Path,
    output: Path,
    *,
    metric: str | None = None,
    task: str | None = None,
    reference_field: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write comparison.json and comparison.png to `output`, best candidate first; return the former.

    Raises:
        Invalid: a record is invalid, or the metric could not be measured.
    """
    records = _records(inputs)
    found: list[dict[str, Any]] = []
    with tqdm(total=len(records) * len(candidates), unit=" records", disable=quiet) as bar:
        for candidate in candidates:
            bar.set_description(candidate.name)
            place = output / candidate.name
            place.mkdir(parents=True, exist_ok=True)
            with (place / "answers.jsonl").open("wb") as sink:
                for lines in _asked(records, candidate):
                    answered = pipeline.answer_lines(lines, stamp=True)
                    sink.write(b"".join(line + b"\n" for line in answered.lines))
                    bar.update(len(lines))
            document = score(
                place / "answers.jsonl", references, place / "score", task=task, reference_field=reference_field
            )
            counts = {name: document["counts"][name] for name in ("records", "errors", "tokens_in", "tokens_out")}
            found.append(
                {
                    "name": candidate.name, "template": candidate.template, "shots": candidate.shots,
                    "metrics": document["metrics"], "counts": counts, "latency_ms": document["latency_ms"],
                }
            )  # fmt: skip
    chosen = metric or next((name for name in _PRIMARY if all(name in one["metrics"] for one in found)), None)
    missing = [one["name"] for one in found if chosen not in one["metrics"]]
    if chosen is None or missing:
        measured = ", ".join(sorted(set.intersection(*(set(one["metrics"]) for one in found)))) or "none"
        failed = next((one["name"] for one in found if not one["metrics"]), "")
        hint = f" No record of {failed} could be answered: see its answers.jsonl." if failed else ""
        raise Invalid("--metric", f"{chosen or 'nothing'} was not measured for all; there are {measured}.{hint}")
    found.sort(key=lambda one: (-one["metrics"][chosen]["value"], one["counts"]["tokens_in"], one["name"]))
    rows = [Compared(one["name"], Estimate(**one["metrics"][chosen])) for one in found]
    told = draw_comparison(output / "comparison.png", chosen, rows)
    whole = {"schema": SCHEMA, "metric": chosen, "candidates": found, "picture": "comparison.png", "alternative": told}
    text = json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (output / "comparison.json").write_text(text, encoding="utf-8")
    log.info("compared %d prompts on %d records, into %s", len(found), len(records), output)
    return whole


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise Invalid("--input", f"{path} is no file.")
    found = []
    for number, line in enumerate(split_lines(path.read_bytes()), start=1):
        try:
            record = decode_record(line)
        except RecordInvalid as error:
            raise Invalid(f"{path.name} line {number}", error.reason) from None
        if record.get("id") is None or not isinstance(record.get("variables"), dict):
            raise Invalid(f"{path.name} line {number}", "needs an id, and variables by name.")
        found.append(record)
    if not found:
        raise Invalid("--input", f"{path} has no records.")
    return found


def _asked(records: Sequence[Mapping[str, Any]], candidate: Candidate) -> Iterator[list[bytes]]:
    for start in range(0, len(records), _AT_ONCE):
        named = [
            {**record, "template": candidate.template, "shots": candidate.shots}
            for record in records[start : start + _AT_ONCE]
        ]
        yield [json.dumps(record).encode() for record in named]


def _shots(text: str | None) -> list[int | None]:
    if not text:
        return [None]
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= MOST_SHOTS for part in parts):
        raise Invalid("--shots", f"must be whole numbers up to {MOST_SHOTS}, with commas between: 0,2.")
    return [int(part) for part in parts]
