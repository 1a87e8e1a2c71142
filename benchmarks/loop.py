"""Measure waiting times: registration to mail, decision to parameter, and the resources of the local service.

Writes docs/benchmarks/loop.md and build/bench/loop.json: `registration_to_mail_s_median`, `large_registration_to_mail_s`
(100 MB), `decision_to_parameter_s_median`, `decisions`, `local_service_mib`. Run it alone on the machine; the figures are those
of the local service, without AWS's own delays.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from benchmarks import tables
from local.http_client import Visitor
from local.service import LocalService

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "promotion-models"
DECISIONS = 20
LARGE_BYTES = 100 << 20


def archive(size: int) -> bytes:
    """A `model.tar.gz` of about `size` bytes of weights that don't compress."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("model.safetensors")
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    return packed.getvalue()


def register(service: LocalService, group: str, key: str) -> str:
    """Register what lies at `key` as the next version of `group`; returns its ARN."""
    arn: str = (
        service.session()
        .client("sagemaker")
        .create_model_package(
            ModelPackageGroupName=group,
            ModelApprovalStatus="PendingManualApproval",
            CustomerMetadataProperties={"requested_by": "dee"},
            InferenceSpecification={
                "Containers": [{"Image": "image:1", "ModelDataUrl": f"s3://{BUCKET}/{key}"}],
                "SupportedContentTypes": ["application/jsonlines"],
                "SupportedResponseMIMETypes": ["application/jsonlines"],
            },
        )["ModelPackageArn"]
    )
    return arn


def mail_about(service: LocalService, group: str, version: int) -> dict[str, Any]:
    """Wait for the mail that requests a version for dev."""

    def look() -> dict[str, Any] | None:
        for mail in service.mailbox():
            if f"{group} v{version}:" in mail["subject"] and "[dev]" in mail["subject"]:
                return mail
        return None

    found = service.wait_for(look, seconds=120)
    assert found is not None
    return found


def memory_mib(process_id: int) -> float:
    """Resident memory of a process and everything below it, in MiB; shared pages count once for each."""
    total, waiting = 0.0, [process_id]
    while waiting:
        each = waiting.pop()
        try:
            status = Path(f"/proc/{each}/status").read_text()
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except FileNotFoundError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0) / 1024
        waiting += [int(child) for child in children.split()]
    return total


def measure(service: LocalService) -> dict[str, Any]:
    """Drive 20 versions from registration to live, one after the other, and one of 100 MB."""
    s3, sagemaker, ssm = (service.session().client(name) for name in ("s3", "sagemaker", "ssm"))
    s3.put_object(Bucket=BUCKET, Key="small.tar.gz", Body=archive(1 << 20))
    s3.put_object(Bucket=BUCKET, Key="large.tar.gz", Body=archive(LARGE_BYTES))
    sagemaker.create_model_package_group(ModelPackageGroupName="bench")
    ann = Visitor(service.url, "ann").sign_in()
    to_mail: list[float] = []
    to_parameter: list[float] = []
    for version in range(1, DECISIONS + 1):
        begun = time.monotonic()
        register(service, "bench", "small.tar.gz")
        mail = mail_about(service, "bench", version)
        to_mail.append(time.monotonic() - begun)
        csrf = str(ann.read(mail["links"][0])["csrf"])
        begun = time.monotonic()
        answer = ann.post(mail["links"][0], verdict="Approved", reason="A benchmark.", csrf=csrf)
        assert answer.status_code == 303, answer.text

        def is_live(version: int = version) -> bool:
            try:
                value = ssm.get_parameter(Name="/promotion/bench/dev/live")["Parameter"]["Value"]
            except ssm.exceptions.ParameterNotFound:
                return False
            return bool(json.loads(value)["model_package_version"] == version)

        service.wait_for(is_live)
        to_parameter.append(time.monotonic() - begun)
    begun = time.monotonic()
    register(service, "bench", "large.tar.gz")
    mail_about(service, "bench", DECISIONS + 1)
    large = time.monotonic() - begun
    assert service.process_id is not None
    return {
        "registration_to_mail_s_median": round(statistics.median(to_mail), 3),
        "large_registration_to_mail_s": round(large, 3),
        "decision_to_parameter_s_median": round(statistics.median(to_parameter), 3),
        "decisions": len(to_parameter),
        "local_service_mib": round(memory_mib(service.process_id)),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
    }


def main(long: bool = False) -> dict[str, Any]:
    """Measure, and write build/bench/loop.json and docs/benchmarks/loop.md."""
    load = os.getloadavg()[0]
    with LocalService(inference=False) as service:
        figures = measure(service)
    place = ROOT / "build" / "bench" / "loop.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(figures, indent=2) + "\n")
    tables.write(
        "loop",
        "The loop",
        "The figures are those of the local service, without AWS's own delays.",
        [
            ("Registration to mail, median", f"{figures['registration_to_mail_s_median']:.2f} s", "at most 2 s",
             f"of {DECISIONS}; an artifact of 1 MB"),
            ("The same for an artifact of 100 MB", f"{figures['large_registration_to_mail_s']:.2f} s", "at most 2 s", "once"),
            ("Decision to Parameter Store, median", f"{figures['decision_to_parameter_s_median']:.2f} s", "at most 2 s",
             f"of {DECISIONS}"),
            ("Memory of the local service", f"{figures['local_service_mib']} MiB", "under 1,536 MiB",
             "all its processes; shared pages count once for each"),
        ],
        load=load,
    )  # fmt: skip
    return figures


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
