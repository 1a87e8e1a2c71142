"""The commands that need no approval of their own: batch, hash, split; and the verified model that they share."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference import storage
from inference.batch import Settings, Transform
from inference.loading import HF_MODEL_ID, load, verify_folder
from inference.parameters import hyper_parameters
from inference.pipeline import Pipeline
from inference.tasks import task_for
from promotion.artifact import hash_artifact
from promotion.errors import Invalid

log = logging.getLogger("inference")


def open_pipeline(options: argparse.Namespace, environment: Mapping[str, str]) -> Pipeline:
    """The pipeline that a command's options ask for.

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
    )


def load_pipeline(
    folder: Path, *, task: str | None, hub_id: str | None, hyper_params: str | None, approval_id: str | None
) -> Pipeline:
    """A pipeline from a verified folder."""
    job = hyper_parameters(hyper_params)
    return Pipeline(task_for(load(folder, task=task, hub_id=hub_id)), job=job, approval_id=approval_id)


def settings_of(options: argparse.Namespace) -> Settings:
    """A transform job's settings from a command's options."""
    return Settings(
        batch_strategy=options.batch_strategy,
        max_payload_in_mb=options.max_payload_in_mb,
        max_concurrent_transforms=options.max_concurrent_transforms,
        input_filter=options.input_filter,
        output_filter=options.output_filter,
        join_source=options.join_source,
    )


def batch(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Transform all files at `--input`; files that are done already are left as they are."""
    settings = settings_of(options)
    hyper_parameters(options.hyper_params)
    identity = {
        "manifest": options.manifest_sha256,
        "model": str(options.model_dir),
        "task": options.task,
        "hyper_params": options.hyper_params,
        "approval_id": options.approval_id,
    }
    make = partial(open_pipeline, options, dict(environment))
    # `command` holds the function that is running, which a worker process has no use for.
    del options.command
    with Transform(make, settings, identity=identity) as transform:
        transform_all(transform, storage.sources(options.input), options.output, quiet=options.quiet)
    return 0


def transform_all(transform: Transform, inputs: list[storage.Source], output: str, *, quiet: bool) -> list[Path]:
    """Every input's `NAME.out` below `output`; returns where they lie on this machine."""
    remote = output.startswith("s3://")
    # The same place each time, so that a job that was killed finds what it had done.
    scratch = Path(tempfile.gettempdir()) / "promotion-transform"
    local = scratch / storage.short_hash(output) if remote else Path(output)
    done = []
    for source in inputs:
        target = local / f"{source.name}.out"
        transform.file(storage.fetch(source, scratch), target, identity=source.identity, quiet=quiet)
        if remote:
            for path in (target, target.with_name(f"{target.name}.run.json")):
                storage.put(path, f"{output.rstrip('/')}/{path.relative_to(local).as_posix()}")
        done.append(target)
    return done


def hash_command(options: argparse.Namespace) -> int:
    """SHA-256 and manifest of an artifact, as JSON."""
    [source] = storage.sources(options.artifact)
    with storage.opened(source) as stream:
        hashed = hash_artifact(stream, name=source.name)
    document = {
        "artifact": options.artifact,
        "size": hashed.size,
        "sha256": hashed.sha256,
        "manifest_sha256": hashed.manifest.sha256,
        "members": [member.as_json() for member in hashed.manifest.members],
    }
    text = json.dumps(document, indent=1) + "\n"
    if options.output:
        storage.put_bytes(text.encode(), options.output)
    else:
        sys.stdout.write(text)
    return 0


def split(options: argparse.Namespace) -> int:
    """Parts of `--lines` lines each, under the output: SageMaker gives whole objects to instances."""
    if options.lines < 1:
        raise Invalid("--lines", "must be at least 1.")
    [source] = storage.sources(options.input)
    stem, _, suffix = source.name.rpartition(".")
    parts = 0
    with storage.opened(source) as stream, tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "part"
        sink, held = part.open("wb"), 0
        while True:
            line = stream.readline()
            if held and (not line or held == options.lines):
                sink.close()
                storage.put(part, f"{options.output.rstrip('/')}/{stem or suffix}-{parts:05d}.{suffix}")
                parts, held = parts + 1, 0
                sink = part.open("wb")
            if not line:
                break
            sink.write(line)
            held += 1
        sink.close()
    print(f"{parts} parts under {options.output}")
    return 0
