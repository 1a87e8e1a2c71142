"""Answers for input lines: each input line gets exactly one output line, even if it is invalid."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.errors import HyperParametersInvalid, RecordInvalid
from inference.records.counts import Counts, Run, peak_memory_bytes, worker_name
from inference.records.json_lines import dump_line
from inference.records.parameters import HYPER_PARAMS, named
from inference.records.prompt_templates import Prompts
from inference.records.requests import InferenceRequest, checked_record, decode_record
from inference.tasks.tasks import Answer, Task, Tokenizing, answer_each
from promotion.errors import Invalid

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Answered:
    """Output lines for input lines, and their counts."""

    lines: list[bytes]
    run: Run


@dataclass(frozen=True, slots=True)
class Begun:
    """The start of work on a record, as wall-clock time and as a monotonic clock's value."""

    wall: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)


class Pipeline:
    """One loaded model, one job's parameters, one approval."""

    def __init__(
        self,
        task: Task,
        *,
        job: Mapping[str, Any] | None = None,
        approval_id: str | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        """Make a pipeline.

        Args:
            task: The task that answers.
            job: Parameters for every record of a batch job.
            approval_id: Id of the approval, written beside the answers.
            prompts: The package's prompt templates.
        """
        self.task = task
        self.prompts = prompts or Prompts({})
        self.approval_id = approval_id
        self._job = job
        if job is not None:
            # Checked once before the first record, instead of an error on every line.
            try:
                task.check_job(job)
            except Invalid as error:
                raise HyperParametersInvalid(f"{HYPER_PARAMS}.{error.field}", error.reason) from None

    def answer_lines(self, lines: Sequence[bytes | RecordInvalid], *, stamp: bool = False) -> Answered:
        """Return an output line for each of `lines`, in order; unreadable lines are given as errors.

        With `stamp`, the first line contains the counts, because a container in batch transform can write nothing but
        its answers.
        """
        begun = Begun()
        return self._answered(self.parse_lines(lines), begun, stamp=stamp)

    def tokenize_lines(self, lines: Sequence[bytes | RecordInvalid]) -> list[InferenceRequest | RecordInvalid]:
        """Parse and tokenize lines; may run on another thread, while earlier lines are answered."""
        parsed = self.parse_lines(lines)
        if not isinstance(self.task, Tokenizing):
            return parsed
        try:
            good = iter(self.task.tokenized([request for request in parsed if isinstance(request, InferenceRequest)]))
        except Exception:
            # `answer_parsed` finds the failing record, because it retries each one alone.
            log.exception("tokenizing failed")
            return parsed
        return [next(good) if isinstance(request, InferenceRequest) else request for request in parsed]

    def answer_parsed(self, parsed: Sequence[InferenceRequest | RecordInvalid]) -> Answered:
        """Return an output line for each parsed line, in order."""
        return self._answered(parsed, Begun())

    def _answered(
        self, parsed: Sequence[InferenceRequest | RecordInvalid], begun: Begun, *, stamp: bool = False
    ) -> Answered:
        answers = answer_each(self.task, [request for request in parsed if isinstance(request, InferenceRequest)])
        return self.finish_lines(parsed, answers, begun, stamp=stamp)

    def parse_lines(self, lines: Sequence[bytes | RecordInvalid]) -> list[InferenceRequest | RecordInvalid]:
        """Parse each line into a request, or into the error of the line."""
        parsed: list[InferenceRequest | RecordInvalid] = []
        for line in lines:
            try:
                if isinstance(line, RecordInvalid):
                    raise line
                parsed.append(self._parse(decode_record(line)))
            except RecordInvalid as error:
                parsed.append(error)
        return parsed

    def finish_lines(
        self,
        parsed: Sequence[InferenceRequest | RecordInvalid],
        answers: Sequence[Sequence[Answer]],
        begun: Begun,
        *,
        stamp: bool = False,
    ) -> Answered:
        """Return output lines for all parsed lines: answers for valid records, errors for others."""
        good = iter(answers)
        counts = Counts(records=len(parsed), engine=self.task.description.facts)
        values: list[Any] = []
        for request in parsed:
            if isinstance(request, RecordInvalid):
                counts.errors += 1
                values.append(self._failed(request.record_id, str(request)))
            else:
                values.append(self._value(request, next(good), counts))
        run = self._run(counts, begun)
        if stamp and values:
            first = values[0][0] if isinstance(values[0], list) else values[0]
            first["run"] = run.as_json()
        return Answered([dump_line(value) for value in values], run)

    def parse_record(self, value: Any) -> InferenceRequest:
        """Parse a real-time request.

        Raises:
            RecordInvalid: the request is wrong.
        """
        return self._parse(checked_record(value))

    def finish_record(self, request: InferenceRequest, answers: Sequence[Answer], begun: Begun) -> tuple[Any, Run]:
        """Return the body of a real-time answer.

        Raises:
            RecordInvalid: a text could not be answered.
        """
        for answer in answers:
            if answer.error:
                raise RecordInvalid("", answer.error, request.id)
        counts = Counts(records=1, engine=self.task.description.facts)
        _count(counts, request, answers)
        bodies = [{**_identity(request.id), **answer.fields} for answer in answers]
        # Without peak memory, which is the process's rather than one request's, and costs more to read than all other
        # counts.
        return self.task.real_time(request, bodies), self._run(counts, begun, memory=False)

    def _run(self, counts: Counts, begun: Begun, *, memory: bool = True) -> Run:
        counts.busy_seconds = time.perf_counter() - begun.clock
        if memory:
            counts.engine["peak_memory_bytes"] = self.peak_memory_bytes()
        return Run(worker_name(), begun.wall, time.time(), counts)

    def peak_memory_bytes(self) -> int:
        """Return the peak memory so far, of the device, or of the process if it computes on the CPU."""
        if self.task.description.device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated())
        return peak_memory_bytes()

    def _parse(self, record: Mapping[str, Any]) -> InferenceRequest:
        try:
            return self.task.parse(self.prompts.applied(record), self._job)
        except RecordInvalid:
            raise
        except Invalid as error:
            raise named(error, record.get("id")) from None

    def _value(self, request: InferenceRequest, answers: Sequence[Answer], counts: Counts) -> Any:
        error = next((answer.error for answer in answers if answer.error), None)
        _count(counts, request, answers)
        if error:
            return self._failed(request.id, str(RecordInvalid("", error, request.id)))
        values = [{**_identity(request.id), **self.task.line(answer.fields), **self._approval()} for answer in answers]
        return values if request.many else values[0]

    def _failed(self, record_id: str | int | float | None, error: str) -> dict[str, Any]:
        return {**_identity(record_id), "error": error, **self.task.line(self.task.nothing), **self._approval()}

    def _approval(self) -> dict[str, str]:
        return {"approval_id": self.approval_id} if self.approval_id else {}


def _count(counts: Counts, request: InferenceRequest, answers: Sequence[Answer]) -> None:
    counts.errors += any(answer.error for answer in answers)
    counts.truncated += any(answer.truncated for answer in answers)
    counts.repeated_inputs += sum(answer.repeated for answer in answers)
    counts.ignored_parameters += request.ignored_parameters
    counts.tokens_in += sum(answer.tokens_in for answer in answers)
    counts.tokens_out += sum(answer.tokens_out for answer in answers)
    counts.latencies.add(max(answer.seconds for answer in answers))
    for answer in answers:
        if answer.first_token_seconds is not None:
            counts.first_tokens.add(answer.first_token_seconds)


def _identity(record_id: str | int | float | None) -> dict[str, Any]:
    return {} if record_id is None else {"id": record_id}
