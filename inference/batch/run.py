"""A direct run: resolve an environment's live model once, verify it, run it on an input, score and report.

The steps are those of the deployed state machine, in one process. A newer approval takes effect in the next run, never
during one.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from tqdm import tqdm

from inference.batch import storage
from inference.batch.commands import load_pipeline, scratch_of, settings_of, transform_all
from inference.batch.transform import Settings, Transform
from inference.errors import ModelRefused
from inference.models.configuration import HF_TASK
from inference.models.loading import HF_MODEL_ID, verify_folder
from inference.models.unpack import extract
from inference.records.parameters import hyper_parameters
from inference.scoring.documents import gates_of, read_baseline, read_document
from inference.scoring.score import score
from promotion import names, resolve
from promotion.client.folder_artifact import find_object_list, hash_folder, is_folder, list_folder, object_chunks
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.errors import IntegrityError, Invalid, NotApproved, PromotionError, Refused

log = logging.getLogger("inference")


def command(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`python -m inference run GROUP ENVIRONMENT`."""
    group, wanted = options.group, options.environment
    settings = settings_of(options)
    hyper_parameters(options.hyper_params)
    # Resolve before the bus is looked up, because without an approved model nothing is reported.
    try:
        model = resolve(group, wanted)
    except NotApproved:
        raise
    except IntegrityError as error:
        unknown = {"model_package_group": group, "environment": wanted, "run_id": f"{wanted}-{_moment()}"}
        _report_failure(options, environment, unknown, error)
        raise
    run = f"{wanted}-v{model.model_package_version}-{_moment()}"
    stamp = {**_stamp(model), "run_id": run}
    log.info("%s v%d is live in %s, approval %s", group, model.model_package_version, wanted, model.approval_id)
    try:
        document = run_once(model, options, settings, stamp)
    except PromotionError as error:
        _report_failure(options, environment, stamp, error)
        raise
    metrics_uri = f"{options.output.rstrip('/')}/score/metrics.json"
    _report(options, environment, {**stamp, "status": "Completed", "metrics_uri": metrics_uri})
    for name, value in document["metrics"].items():
        print(f"{name:12} {value['value']:.4f}  ({value['low']:.4f} to {value['high']:.4f}, n {value['n']})")
    print(metrics_uri)
    return 0


def run_once(
    model: LiveModel, options: argparse.Namespace, settings: Settings, stamp: Mapping[str, Any]
) -> dict[str, Any]:
    """Verify, transform, score and upload; return the metrics."""
    if len(model.containers) > 1:
        raise Invalid(
            "containers", f"a direct run takes one container, and this model is a pipeline of {len(model.containers)}."
        )
    container = model.containers[0]
    folder = artifact_folder(model, options.cache or default_cache(), quiet=options.quiet)
    make = partial(
        load_pipeline,
        folder,
        task=container.environment.get(HF_TASK),
        hub_id=container.environment.get(HF_MODEL_ID),
        hyper_params=options.hyper_params,
        approval_id=model.approval_id,
        environment=container.environment,
    )
    inputs, output = storage.sources(options.input), options.output.rstrip("/")
    identity = {"sha256": container.sha256, "hyper_params": options.hyper_params, "approval_id": model.approval_id}
    with scratch_of(output) as kept, tempfile.TemporaryDirectory(prefix="promotion-score-") as scratch:
        with Transform(make, settings, identity=identity) as transform:
            outputs = transform_all(transform, inputs, f"{output}/transform", kept, quiet=options.quiet)
        place = Path(scratch)
        outputs_here = _gathered(outputs, place / "outputs")
        fetched = [storage.fetch(source, kept) for source in inputs]
        references = (
            [storage.fetch(source, place) for source in storage.sources(options.references)]
            if options.references
            else []
        )
        baseline = folder / "baseline.json"
        document = score(
            outputs_here,
            _gathered(references, place / "references") if references else None,
            place / "score",
            inputs=_gathered(fetched, place / "inputs"),
            task=container.environment.get(HF_TASK),
            reference_field=options.reference_field,
            approval=stamp,
            gates=gates_of(read_document(options.gates)),
            live=read_document(options.live),
            baseline=read_baseline(baseline) if baseline.exists() else None,
        )
        for path in sorted((place / "score").iterdir()):
            storage.put(path, f"{output}/score/{path.name}")
    return document


def artifact_folder(model: LiveModel, cache: Path, *, quiet: bool = False) -> Path:
    """Return the unpacked artifact: from the cache if it verifies, else downloaded and hashed before unpacking.

    Raises:
        IntegrityError: the bytes are not those that were approved.
    """
    container = model.containers[0]
    folder = cache / container.sha256
    if folder.is_dir():
        try:
            verify_folder(folder, container.manifest_sha256)
        except ModelRefused:
            log.warning("the cached copy of %s was changed; it is fetched again", container.sha256)
            shutil.rmtree(folder)
        else:
            return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        fresh = Path(scratch) / "model"
        with tqdm(unit="B", unit_scale=True, desc="artifact", disable=quiet, file=sys.stderr) as bar:
            fetch = _fetch_folder if is_folder(container.model_data_url) else _fetch_archive
            fetch(container, Path(scratch), fresh, bar.update)
        verify_folder(fresh, container.manifest_sha256)
        try:
            fresh.rename(folder)
        except OSError:
            # A concurrent run has put the same artifact there.
            verify_folder(folder, container.manifest_sha256)
    return folder


def _fetch_archive(container: LiveContainer, scratch: Path, folder: Path, progress: Callable[[int], object]) -> None:
    archive = scratch / "model.tar.gz"
    found = storage.download_hashed(container.model_data_url, container.model_data_version_id, archive, progress)
    if found != container.sha256:
        raise IntegrityError(
            f"{container.model_data_url}: the bytes are not those that were approved "
            f"(SHA-256 {found}, approved {container.sha256}). Nothing was predicted."
        )
    extract(archive, folder)


def _fetch_folder(container: LiveContainer, scratch: Path, folder: Path, progress: Callable[[int], object]) -> None:
    """Download a folder's approved object versions, or the newest ones if their list can't be read; verified later."""
    s3, url = storage.client("s3"), container.model_data_url
    prefix = os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX
    approved = find_object_list(storage.client("ssm"), s3, prefix, container.sha256)
    if approved is None:
        approved = hash_folder(s3, url, list_folder(s3, url)).manifest
    for member in approved.members:
        path = folder / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as sink:
            for chunk in object_chunks(s3, url, member):
                sink.write(chunk)
                progress(len(chunk))


def default_cache() -> Path:
    """Return the folder that caches artifacts between runs, by hash."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion" / "artifacts"


def _gathered(paths: list[Path], folder: Path) -> Path:
    """Make a folder with links to `paths` and their sidecar files, so that they can be read as one folder."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        (folder / f"{number:06d}-{path.name}").symlink_to(path.resolve())
        sidecar = path.with_name(f"{path.name}.run.json")
        if sidecar.exists():
            (folder / f"{number:06d}-{sidecar.name}").symlink_to(sidecar.resolve())
    return folder


def _stamp(model: LiveModel) -> dict[str, Any]:
    return {
        "approval_id": model.approval_id,
        "model_package_group": model.model_package_group,
        "model_package_version": model.model_package_version,
        "model_package_arn": model.model_package_arn,
        "environment": model.environment,
        "sequence": model.sequence,
    }


def _moment() -> str:
    """Return the current time as part of a name that sorts by time."""
    moment = datetime.now(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond:06d}"


def _report_failure(
    options: argparse.Namespace, environment: Mapping[str, str], stamp: Mapping[str, Any], error: Exception
) -> None:
    """Report a failed run. An error in reporting must not hide the run's own error."""
    detail = {
        **stamp,
        "status": "Failed",
        "error": {"Error": type(error).__name__, "Cause": str(error)[:1_000]},
    }
    try:
        _report(options, environment, detail)
    except Exception:
        log.exception("the failure could not be reported")


def _report(options: argparse.Namespace, environment: Mapping[str, str], detail: Mapping[str, Any]) -> None:
    if options.no_event:
        return
    bus = options.event_bus or _service(environment)["event_bus"]
    entry = {
        "Source": names.INFERENCE_SOURCE,
        "DetailType": names.INFERENCE_COMPLETED,
        "EventBusName": bus,
        "Detail": json.dumps(detail),
    }
    try:
        answer = storage.client("events").put_events(Entries=[entry])
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        raise Refused(
            f"The bus {bus} takes reports from the inference machines alone, so the service is not told of this run; its results "
            "are at --output. Use --no-event, or start the environment's machine for a run that counts."
        ) from None
    if answer["FailedEntryCount"]:
        raise PromotionError(f"The run's report was not taken: {answer['Entries'][0].get('ErrorMessage', '')}")


def _service(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the deployed service's description of itself."""
    name = names.service_parameter(environment.get(names.PREFIX) or names.DEFAULT_PREFIX)
    ssm = storage.client("ssm")
    try:
        value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise Invalid(
            "--event-bus", f"is not given and there is no {name} to look it up in; --no-event tells nobody."
        ) from None
    return dict(json.loads(value))
