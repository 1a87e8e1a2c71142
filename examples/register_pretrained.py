"""Register a model that already exists: a folder in Hugging Face's layout, or a JumpStart model of a named version.

    python -m examples.register_pretrained ./flan-t5-small --group summaries --licence apache-2.0 \\
        --input articles.jsonl --references highlights.jsonl --requested-by dee
    python -m examples.register_pretrained huggingface-text2text-flan-t5-large@1.2.0 --group summaries --licence apache-2.0

The weights are converted to safetensors where they aren't yet, without running anything that is in them; the model is
measured on your data by the service's own scoring, and registered with metrics, drift baseline, licence and requester.
JumpStart's `*` stands for "whatever is newest", which nobody can approve: it is resolved, and the package names what it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import torch
from safetensors.torch import save_file

from examples.measuring import measured
from examples.registering import IMAGE, pack, register
from inference.errors import ModelBroken
from inference.models.loading import load
from inference.models.unpack import extract
from inference.scoring.drift import profile
from inference.scoring.joining import input_texts
from promotion.client.archive import member_path

# Files copied beside the weights. Code, pickles and other formats' copies of the weights are not copied.
_KEPT = (".json", ".txt", ".model", ".safetensors", ".jinja")
_LEFT = frozenset({"pytorch_model.bin.index.json"})
_JUMPSTART = re.compile(r"(?P<id>[a-z0-9][a-z0-9-]+)@(?P<version>\*|\d+\.\d+\.(?:\d+|\*))")
_METADATA = re.compile(r"[^\w\s.:/=+\-@]")


def prepare(source: Path, folder: Path) -> Path:
    """A copy of `source` with safetensors weights and nothing that can run.

    Raises:
        ModelBroken: no weights, or pickled ones that hold more than tensors.
    """
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in _KEPT and path.name not in _LEFT:
            shutil.copyfile(path, folder / path.name)
    if any(path.suffix == ".safetensors" for path in folder.iterdir()):
        return folder
    pickled = sorted(source.glob("pytorch_model*.bin"))
    if not pickled:
        raise ModelBroken(f"{source} has neither *.safetensors nor pytorch_model*.bin.")
    tensors: dict[str, torch.Tensor] = {}
    for path in pickled:
        try:
            # weights_only reads tensors and refuses everything else: nothing in the file is run.
            tensors |= torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a hostile pickle may fail in any way
            raise ModelBroken(f"{path.name} holds more than tensors, or is damaged; it is not opened.") from error
    save_file(_unshared(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def jumpstart(model: str, folder: Path, *, session: Any = None) -> tuple[str, Path]:
    """The exact `id@version` of a JumpStart model, and its unpacked files.

    Raises:
        ModelBroken: there is no such model or version.
    """
    session = session or boto3.Session()
    match = _JUMPSTART.fullmatch(model)
    if match is None:
        raise ModelBroken(f"{model!r} is neither a folder nor a JumpStart model as id@version (or id@*).")
    region = session.region_name or "us-east-1"
    bucket, s3 = f"jumpstart-cache-prod-{region}", session.client("s3")
    listed = json.loads(s3.get_object(Bucket=bucket, Key="models_manifest.json")["Body"].read())
    wanted = re.compile(re.escape(match["version"]).replace(r"\*", r".*"))
    fitting = [entry for entry in listed if entry["model_id"] == match["id"] and wanted.fullmatch(entry["version"])]
    if not fitting:
        raise ModelBroken(f"JumpStart has no {model} in {region}.")
    newest = max(fitting, key=lambda entry: [int(part) for part in entry["version"].split(".")])
    spec = json.loads(s3.get_object(Bucket=bucket, Key=newest["spec_key"])["Body"].read())
    if spec.get("gated_bucket"):
        raise ModelBroken(
            f"{model} is behind a licence to be accepted at JumpStart; download it there and name the folder."
        )
    key = spec["hosting_artifact_key"]
    if key.endswith("/"):
        _download_all(s3, bucket, key, folder / "files")
    else:
        archive = folder / "jumpstart.tar.gz"
        folder.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(archive))
        extract(archive, folder / "files")
    config = min((folder / "files").rglob("config.json"), key=lambda path: len(path.parts), default=None)
    if config is None:
        raise ModelBroken(f"{model} has no config.json: it is not in Hugging Face's layout.")
    return f"{newest['model_id']}@{newest['version']}", config.parent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.register_pretrained", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "model", help="a folder, or a JumpStart model as id@version; id@* uses the newest and prints it"
    )
    parser.add_argument("--group", required=True, help="the model package group")
    parser.add_argument("--licence", required=True, help="its publisher's name for it: gates can require it")
    parser.add_argument("--input", type=Path, help="JSON Lines for the metrics, and for the drift baseline")
    parser.add_argument("--references", type=Path, help="JSON Lines with the expected answers")
    parser.add_argument("--task", help="text2text-generation or zero-shot-classification (default: config.json's)")
    parser.add_argument("--bucket", default="promotion-models")
    parser.add_argument("--image", default=IMAGE, help="the inference image")
    parser.add_argument("--requested-by", default=os.environ.get("USER", "dee"))
    options = parser.parse_args(arguments)
    if bool(options.input) != bool(options.references):
        parser.error("--input and --references go together")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        origin, source = options.model, Path(options.model)
        if not source.is_dir():
            origin, source = jumpstart(options.model, place / "jumpstart")
        folder = prepare(source, place / "model")
        task = load(folder, task=options.task).task
        metrics: dict[str, Any] = {}
        baseline = None
        if options.input:
            baseline = profile(text for _, text in input_texts(options.input))
            (folder / "baseline.json").write_text(json.dumps(baseline))
            metrics = measured(folder, options.input, options.references, task=task)
        arn = register(
            pack(folder),
            metrics,
            group=options.group,
            bucket=options.bucket,
            requested_by=options.requested_by,
            task=task,
            baseline=baseline,
            image=options.image,
            metadata={"licence": _said(options.licence), "origin": _said(origin)},
        )
    for name, value in metrics.get("metrics", {}).items():
        print(f"{name:12} {value['value']:.3f}")
    print(arn)
    return 0


def _download_all(s3: Any, bucket: str, prefix: str, folder: Path) -> None:
    """An artifact that is stored as files. Names are taken as in an archive: nothing lands outside the folder."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            target = folder / member_path(entry["Key"].removeprefix(prefix))
            if not entry["Key"].endswith("/"):
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, entry["Key"], str(target))


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that share their memory (tied embeddings) copied, since safetensors holds each by itself."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        found[name] = tensor.clone() if shared else tensor.contiguous()
    return found


def _said(text: str) -> str:
    """`text` in the characters that a package's metadata takes."""
    return _METADATA.sub(" ", text)[:256]


if __name__ == "__main__":
    sys.exit(main())
