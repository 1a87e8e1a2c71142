"""The commands that don't look up an approval (batch, split), and the loading of a verified model."""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from inference.batch import storage
from inference.batch.opening import task_for
from inference.batch.transform import Settings, Transform
from inference.models.loading import HF_MODEL_ID, dtype_of, load, verify_folder
from inference.records.parameters import hyper_parameters
from inference.records.prompt_templates import FOLDER, Prompts
from inference.tasks.pipeline import Pipeline
from promotion.errors import Invalid

log = logging.getLogger("inference")


def open_pipeline(options: argparse.Namespace, environment: Mapping[str, str]) -> Pipeline:
    """Open the pipeline for a command's options.

    Raises:
        ModelRefused, ModelBroken, HyperParametersInvalid.
    """
    if options.unverified:
        log.warning("nobody has approved this model: --unverified")
    else:
        verify_folder(options.model_dir, options.manifest_sha256)
    return load_pipeline(
        options.model_dir,
        task=options.task,
        hub_id=environment.get(HF_MODEL_ID),
        hyper_params=options.hyper_params,
        approval_id=options.approval_id,
        environment=environment,
    )


def load_pipeline(
    folder: Path,
    *,
    task: str | None,
    hub_id: str | None,
    hyper_params: str | None,
    approval_id: str | None,
    environment: Mapping[str, str] | None = None,
) -> Pipeline:
    """Load a pipeline from a verified folder."""
    job = hyper_parameters(hyper_params)
    loaded = load(folder, task=task, hub_id=hub_id, environment=environment)
    prompts = Prompts.of(folder / FOLDER)
    return Pipeline(task_for(loaded, environment), job=job, approval_id=approval_id, prompts=prompts)


def settings_of(options: argparse.Namespace) -> Settings:
    """Return a transform job's settings from a command's options."""
    return Settings(
        batch_strategy=options.batch_strategy,
        max_payload_in_mb=options.max_payload_in_mb,
        max_concurrent_transforms=options.max_concurrent_transforms,
        input_filter=options.input_filter,
        output_filter=options.output_filter,
        join_source=options.join_source,
    )


def batch(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Transform all files at `--input`; finished files are skipped."""
    settings = settings_of(options)
    hyper_parameters(options.hyper_params)
    identity = {
        "manifest": options.manifest_sha256 or _files_of(options.model_dir),
        "model": str(options.model_dir),
        "task": options.task,
        "hyper_params": options.hyper_params,
        "approval_id": options.approval_id,
        # A resumed run must use the same precision.
        "dtype": str(dtype_of(environment)),
    }
    make = partial(open_pipeline, options, dict(environment))
    # `command` is this function, which must not be pickled for the worker processes.
    del options.command
    inputs = storage.sources(options.input)
    with Transform(make, settings, identity=identity) as transform, scratch_of(options.output) as scratch:
        transform_all(transform, inputs, options.output, scratch, quiet=options.quiet)
    return 0


@contextmanager
def scratch_of(output: str) -> Iterator[Path]:
    """Provide a folder for files from and to S3; it is removed at the job's end, and reused after a crash."""
    scratch = Path(tempfile.gettempdir()) / "promotion-transform" / storage.short_hash(output)
    yield scratch
    shutil.rmtree(scratch, ignore_errors=True)


def transform_all(
    transform: Transform, inputs: list[storage.Source], output: str, scratch: Path, *, quiet: bool
) -> list[Path]:
    """Write each input's `NAME.out` below `output`; return the local paths."""
    remote = output.startswith("s3://")
    local = scratch / "outputs" if remote else Path(output)
    done = []
    for source in inputs:
        target = local / f"{source.name}.out"
        transform.file(storage.fetch(source, scratch), target, identity=source.identity, quiet=quiet)
        if remote:
            for path in (target, target.with_name(f"{target.name}.run.json")):
                storage.put(path, f"{output.rstrip('/')}/{path.relative_to(local).as_posix()}")
        done.append(target)
    return done


def split(options: argparse.Namespace) -> int:
    """Split an input into parts of `--lines` lines, because SageMaker distributes whole objects to instances."""
    if options.lines < 1:
        raise Invalid("--lines", "must be at least 1.")
    [source] = storage.sources(options.input)
    prefix = f"{options.output.rstrip('/')}/"
    if storage.exists(prefix):
        # A transform job would also answer the parts of an earlier split.
        raise Invalid("--output", f"there is something under {options.output} already.")
    name = PurePosixPath(source.name)
    parts = 0
    with storage.opened(source) as stream, tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "part"
        while _copy_lines(stream, part, options.lines):
            storage.put(part, f"{prefix}{name.stem}-{parts:06d}{name.suffix}")
            parts += 1
    print(f"{parts} parts under {options.output}")
    return 0


def _copy_lines(stream: IO[bytes], part: Path, lines: int) -> bool:
    """Write the next `lines` lines of `stream` to `part`, in pieces; return True if there were any."""
    held, size = 0, 0
    with part.open("wb") as sink:
        while held < lines and (piece := stream.readline(1 << 20)):
            size += sink.write(piece)
            held += piece.endswith(b"\n")
    return size > 0


def _files_of(folder: Path) -> str:
    """Return a hash of an unverified model's file sizes and times, to notice another model at its path."""
    found = [(str(path), path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return storage.short_hash(str([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]))
