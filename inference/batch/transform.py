"""Batch transform on one machine: reads a file and writes `NAME.out`, by SageMaker's contract.

It streams files of any length: memory holds one payload for each worker, one that is being read and one that is being
written. Progress is written to a journal after payloads; after a crash, the next start continues there, with
byte-identical output.
"""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from inference.batch import cores, data_processing
from inference.batch.beside import Beside
from inference.errors import RecordInvalid
from inference.records.counts import Counts, Run, worker_name
from inference.records.json_lines import dump_line
from inference.records.requests import InferenceRequest, decode_record
from inference.records.text_files import opened
from inference.scoring.joining import RUN_SUFFIX
from inference.tasks.pipeline import Answered, Pipeline
from inference.tasks.zero_shot import ZeroShot
from promotion.errors import Invalid, PromotionError

# More lines than this make sorting by length no more effective, and only need memory.
MOST_LINES = 1_024
LONGEST_LINE_BYTES = 100 << 20
_JOURNAL_SECONDS = 1.0
Parsed = Sequence[InferenceRequest | RecordInvalid]


class DiskFull(PromotionError):
    """The disk is too full for the output; written output stays, and the next start continues from it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A transform job's settings, by SageMaker's names."""

    batch_strategy: str = "MultiRecord"
    max_payload_in_mb: int = 6
    max_concurrent_transforms: int = 1
    input_filter: str = "$"
    output_filter: str = "$"
    join_source: str = "None"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("BatchStrategy", self.batch_strategy, ("MultiRecord", "SingleRecord")),
            ("JoinSource", self.join_source, ("None", "Input")),
        ):
            if value not in known:
                raise Invalid(name, f"must be {' or '.join(known)}, not {value!r}.")
        if not 0 <= self.max_payload_in_mb <= 100:
            raise Invalid("MaxPayloadInMB", f"must be 0 to 100, not {self.max_payload_in_mb}.")
        if not 1 <= self.max_concurrent_transforms <= 100:
            raise Invalid("MaxConcurrentTransforms", f"must be 1 to 100, not {self.max_concurrent_transforms}.")
        data_processing.Path.parse("InputFilter", self.input_filter)
        data_processing.Path.parse("OutputFilter", self.output_filter)

    @property
    def payload_bytes(self) -> int:
        # 0 means no limit, as in SageMaker.
        return (self.max_payload_in_mb << 20) or LONGEST_LINE_BYTES


@dataclass(slots=True)
class _Journal:
    """Progress of a file; the output before this position was flushed to disk."""

    job: str
    lines: int
    read_bytes: int
    written_bytes: int
    run: dict[str, Any] | None


class Worker:
    """One loaded pipeline with a job's settings; made once in each process."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._input = data_processing.Path.parse("InputFilter", settings.input_filter)
        self._output = data_processing.Path.parse("OutputFilter", settings.output_filter)

    def parsed(self, payload: list[bytes | None]) -> Parsed:
        """Parse and tokenize a payload, by a second tokenizer; None is a line that was too long to read."""
        return self._pipeline.tokenize_lines([self._prepared(line) for line in payload])

    def answer(self, payload: list[bytes | None], parsed: Parsed | None = None) -> Answered:
        """Return the output lines for one payload; `parsed` is its parsed form, if it was parsed ahead."""
        # A score's last digit can depend on its batch. Clearing the cache makes a payload's answers independent of
        # earlier payloads.
        if isinstance(self._pipeline.task, ZeroShot):
            self._pipeline.task.forget()
        if parsed is None:
            answered = self._pipeline.answer_lines([self._prepared(line) for line in payload])
        else:
            answered = self._pipeline.answer_parsed(parsed)
        if self._settings.join_source == "None" and self._output.whole:
            return answered
        counts = answered.run.counts
        lines = [self._finished(given, line, counts) for given, line in zip(payload, answered.lines, strict=True)]
        return Answered(lines, answered.run)

    def _prepared(self, line: bytes | None) -> bytes | RecordInvalid:
        if line is None or len(line) > self._settings.payload_bytes:
            most = self._settings.payload_bytes >> 20
            return RecordInvalid("", f"the line is longer than a payload of {most} MB (MaxPayloadInMB).")
        if self._input.whole:
            return line
        try:
            record = decode_record(line)
        except RecordInvalid as error:
            return error
        try:
            return json.dumps(self._input.of(record)).encode()
        except data_processing.NothingFound as error:
            return RecordInvalid("InputFilter", str(error), record.get("id"))

    def _finished(self, given: bytes | None, line: bytes, counts: Counts) -> bytes:
        answer = value = json.loads(line)
        if self._settings.join_source == "Input":
            try:
                source = decode_record(given or b"")
            except RecordInvalid:
                source = {"SageMakerInput": (given or b"").decode(errors="replace")[:1_000]}
            value = data_processing.join(source, value)
        try:
            return dump_line(self._output.of(value))
        except data_processing.NothingFound as error:
            first = answer[0] if isinstance(answer, list) else answer
            counts.errors += "error" not in first
            known = {name: first[name] for name in ("id", "approval_id") if name in first}
            return dump_line({**known, "error": f"OutputFilter: {error}", **self._pipeline.task.nothing})


_worker: Worker | None = None


def _start_worker(make: Callable[[], Pipeline], settings: Settings, started: Synchronized[int] | None = None) -> None:
    """Open the model in this process; `started` counts the processes of a pool."""
    global _worker  # the one thing that a process of the pool is made for
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent can't stop its pool, and an orphaned worker would keep the device's memory.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if started is not None:
        with started.get_lock():
            number, started.value = started.value, started.value + 1
        cores.pin(number, settings.max_concurrent_transforms)
    _worker = Worker(make(), settings)


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _work(payload: list[bytes | None], parsed: Parsed | None) -> Answered:
    assert _worker is not None
    return _worker.answer(payload, parsed)


class Transform:
    """A transform job: one model, one set of settings, any number of files.

    `make` must be picklable if there are several workers.
    """

    def __init__(self, make: Callable[[], Pipeline], settings: Settings, *, identity: Mapping[str, Any]) -> None:
        self._settings = settings
        # The output depends on these as well as on the file, so that another job's journal must not be used.
        self._identity = json.dumps({"settings": asdict(settings), **identity}, sort_keys=True)
        self._here = settings.max_concurrent_transforms == 1
        if self._here:
            _start_worker(make, settings)
            self._executor: Executor = Beside()
        else:
            # A fork would copy torch's thread pools in an unusable state.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                settings.max_concurrent_transforms,
                context,
                initializer=_start_worker,
                initargs=(make, settings, context.Value("i", 0)),
            )

    def __enter__(self) -> Transform:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def file(self, source: Path, target: Path, *, identity: str = "", quiet: bool = False) -> Run:
        """Transform `source` into `target`, and write the counts beside it; return them.

        A file that an earlier start of the same job finished is left unchanged.

        Raises:
            DiskFull: The disk is full; start again once there is room.
        """
        stat = source.stat()
        known = identity or f"{stat.st_size} {stat.st_mtime_ns}"
        job = hashlib.sha256(f"{self._identity}\n{known}".encode()).hexdigest()
        ended = _ended(target, job)
        if ended is not None:
            return ended
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        journal_path = target.with_name(f".{target.name}.journal")
        try:
            return self._file(source, target, part, journal_path, job, quiet)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            done = _read_journal(journal_path, job)
            raise DiskFull(
                f"The disk is full. {done.lines if done else 0} lines of {source.name} are done; "
                "make room and start again: it goes on from there."
            ) from None

    def _file(self, source: Path, target: Path, part: Path, journal_path: Path, job: str, quiet: bool) -> Run:
        done = _read_journal(journal_path, job) if part.exists() else None
        if done is None or part.stat().st_size < done.written_bytes:
            done = _Journal(job, 0, 0, 0, None)
        counts = Counts.of_json(done.run or {})
        started = float(done.run["started"]) if done.run else time.time()
        bar = tqdm(total=_count_lines(source), initial=done.lines, unit=" records", desc=source.name, disable=quiet)
        with bar, opened(source) as given, part.open("r+b" if part.exists() else "w+b") as out:
            out.truncate(done.written_bytes)
            out.seek(done.written_bytes)
            given.seek(done.read_bytes)
            saved = time.monotonic()
            for size, answered in self._answers(given):
                out.write(b"".join(line + b"\n" for line in answered.lines))
                counts.merge(answered.run.counts)
                done.lines += len(answered.lines)
                done.read_bytes += size
                done.written_bytes = out.tell()
                done.run = Run(worker_name(), started, time.time(), counts).as_json()
                bar.update(len(answered.lines))
                if time.monotonic() - saved > _JOURNAL_SECONDS:
                    _save(out, journal_path, done)
                    saved = time.monotonic()
            out.flush()
            os.fsync(out.fileno())
            ends_at = out.tell()
        run = Run(worker_name(), started, time.time(), counts)
        part.replace(target)
        # Written last, because it marks the output as complete and names its job.
        told = {**run.as_json(), "job": job, "bytes": ends_at}
        target.with_name(target.name + RUN_SUFFIX).write_text(json.dumps(told) + "\n")
        journal_path.unlink(missing_ok=True)
        return run

    def _answers(self, given: IO[bytes]) -> Iterator[tuple[int, Answered]]:
        """Yield each payload's size and answers in order; a payload for each worker and one more are in progress."""
        waiting: deque[tuple[int, Future[Answered]]] = deque()
        for size, payload in payloads(given, self._settings):
            # With one worker, in this process, a payload is tokenized while the previous one is computed; several use
            # all cores anyway.
            parsed = _worker.parsed(payload) if _worker is not None and self._here else None
            waiting.append((size, self._executor.submit(_work, payload, parsed)))
            if len(waiting) > self._settings.max_concurrent_transforms:
                size, future = waiting.popleft()
                yield size, future.result()
        while waiting:
            size, future = waiting.popleft()
            yield size, future.result()


def payloads(given: IO[bytes], settings: Settings) -> Iterator[tuple[int, list[bytes | None]]]:
    """Yield payloads of lines, each with the number of bytes read. A line that is too long becomes None."""
    most = 1 if settings.batch_strategy == "SingleRecord" else MOST_LINES
    payload: list[bytes | None] = []
    size = held = 0
    for length, line in _lines(given, settings.payload_bytes):
        weight = len(line or b"")
        if payload and (len(payload) >= most or held + weight > settings.payload_bytes):
            yield size, payload
            payload, size, held = [], 0, 0
        payload.append(line)
        size += length
        held += weight
    if payload:
        yield size, payload


def _lines(given: IO[bytes], longest: int) -> Iterator[tuple[int, bytes | None]]:
    while line := given.readline(longest + 2):
        if line.endswith(b"\n") or len(line) <= longest:
            yield len(line), line.removesuffix(b"\n").removesuffix(b"\r")
            continue
        length = len(line)
        while (more := given.readline(1 << 20)) and not more.endswith(b"\n"):
            length += len(more)
        yield length + len(more), None


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with opened(path) as stream:
        while chunk := stream.read(1 << 20):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _save(out: IO[bytes], path: Path, journal: _Journal) -> None:
    """Flush the output to disk first, then replace the journal that refers to it atomically."""
    out.flush()
    os.fsync(out.fileno())
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w") as stream:
        json.dump(asdict(journal), stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def _ended(target: Path, job: str) -> Run | None:
    """Return the counts if `target` is this job's own and complete, else None."""
    try:
        told = json.loads(target.with_name(target.name + RUN_SUFFIX).read_bytes())
        whole = told["job"] == job and told["bytes"] == target.stat().st_size
        return Run.of_json(told) if whole else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read_journal(path: Path, job: str) -> _Journal | None:
    try:
        journal = _Journal(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return journal if journal.job == job else None
