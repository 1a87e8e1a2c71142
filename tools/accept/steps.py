"""The steps of an acceptance, in order: each returns its observation, or raises."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from examples.registering import IMAGE
from promotion import names
from promotion.cli import checking, operating
from promotion.client.artifact import split_uri
from promotion.client.resolve import resolve
from promotion.errors import NotApproved, PromotionError, Refused
from tools.accept.world import Failed, World

Step = Callable[[World], str]
LOGS = "docs/operations.md says which log has it"
OPERATOR = "Name who runs this under [operators] principals, deploy, and run it again."
PATTERN = "promotion-accept-*"
REQUESTER = "make-accept"
REASON = "make accept tries the deployment."


def find(world: World) -> str:
    """The installation answers, and its group can be governed."""
    if not world.config.governs(world.group):
        raise Failed(
            f"`groups` in promotion.toml leaves out {world.group}.", f'Add "{PATTERN}" to `groups`, and deploy.'
        )
    import requests

    answer = requests.get(f"{world.installation['api_url']}/healthz", timeout=30)
    world.took_s["first answer"] = answer.elapsed.total_seconds()
    if answer.status_code != 200:
        raise Failed(f"{world.installation['api_url']}/healthz answered {answer.status_code}.", LOGS)
    return f"{world.installation['api_url']} answers after {world.took_s['first answer']:.1f} s."


def make_group(world: World) -> str:
    """A model package group of its own, and the input of a run."""
    from examples import train_summarizer as summarizer
    from examples.corpus import held_out_logs

    world.client("sagemaker").create_model_package_group(
        ModelPackageGroupName=world.group, ModelPackageGroupDescription="Made by make accept; may be deleted."
    )
    world.made.append(("group", world.group))
    world.made.append(("objects", f"s3://{world.bucket}/{world.group}/"))
    evaluation = world.config.evaluation(world.group)
    places = {"bucket": world.config.inference.bucket, "group": world.group, "environment": world.environment}
    with tempfile.TemporaryDirectory() as folder:
        files = summarizer.write_held_out(Path(folder), list(held_out_logs(RECORDS)))
        for place, file in zip((evaluation.input, evaluation.references), files, strict=True):
            if not place or "{group}" not in place:
                do = "Put {group} into [inference] input and references."
                raise Failed(f"{place!r} is no place of this group's own.", do)
            _put(world, place.format(**places), file.read_bytes())
    return f"{world.group}, with an input of {RECORDS} records for {world.environment}."


def _put(world: World, uri: str, body: bytes) -> None:
    bucket, key = split_uri(uri, "input")
    world.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    world.made.append(("input", uri))


def register_first(world: World) -> str:
    """Register a tiny model, and wait until it is in the ledger and hashed."""
    return _register(world, 1)


def adopt(world: World) -> str:
    """Version 1 is attested as what served before, so that there is something to go back to."""
    _operate(world, lambda: operating.adopt(world.group, world.environment, 1, REASON, as_json=True))
    world.until("version 1 live", lambda: _live(world) == 1, minutes=5, do=LOGS)
    return f"version 1 is live in {world.environment}; nobody had to click."


def register_second(world: World) -> str:
    """Register the next version, and wait for its request."""
    said = _register(world, 2)
    request = world.until("a request for version 2", lambda: _request(world), minutes=5, do=LOGS)
    failed = [gate.metric for gate in request.gates if not gate.open]
    if failed:
        raise Failed(f"a quality gate of {world.environment} failed: {', '.join(map(str, failed))}.", "docs/gates.md")
    return said


def mailed(world: World) -> str:
    """The projector has handed the mail to SES."""
    head = world.ledger.head(world.group).sequence
    world.until(
        "the mail",
        lambda: world.cursors.read(world.group).get(names.MAIL, 0) >= head,
        minutes=5,
        do="Look into the dead-letter queue (promotion doctor); most often SES doesn't know the sender yet.",
    )
    return f"SES took the mail to {', '.join(world.config.environment(world.environment, world.group).approvers)}."


def click(world: World) -> str:
    """Wait until the approvers have approved."""
    quorum = world.config.environment(world.environment, world.group).quorum
    world.approver.ask(world.group, 2, world.environment, f"{world.installation['api_url']}/models/{world.group}")
    world.until(
        f"{quorum} approval{'s' if quorum > 1 else ''}",
        lambda: _live(world) == 2,
        minutes=60,
        do="Approve by the link in the mail, as a member of the environment's approver group; then run this again.",
    )
    return f"version 2 was approved and is live in {world.environment}."


def resolved(world: World) -> str:
    """Resolve as a pipeline does: check the record's signature and the artifact's bytes."""
    model = resolve(
        world.group, world.environment, artifact=True, public_key=world.public_key, prefix=world.prefix,
        ssm=world.client("ssm"), s3=world.client("s3"),
    )  # fmt: skip
    return (
        f"version {model.model_package_version}, signed by {model.key_id.rpartition('/')[2]}, its artifact as approved."
    )


def registry(world: World) -> str:
    """The registry follows the ledger."""
    describe = world.client("sagemaker").describe_model_package

    def found() -> Mapping[str, Any] | None:
        package = describe(ModelPackageName=world.arns[2])
        fields = package.get("CustomerMetadataProperties") or {}
        approved = package["ModelApprovalStatus"] == names.APPROVED and fields.get(world.environment) == names.APPROVED
        return package if approved else None

    package = world.until("the registry", found, minutes=5, do=LOGS)
    stage = ((package or {}).get("ModelLifeCycle") or {}).get("Stage", "none")
    return f"ModelApprovalStatus and {world.environment} are Approved, the stage is {stage}."


def run(world: World) -> str:
    """The promotion started an inference run, and it ends."""

    def ended() -> Any:
        return world.view().version(2).evidence.get(world.environment)

    evidence = world.until(
        "the inference run", ended, minutes=90, do="Open the environment's state machine in the Step Functions console."
    )
    world.evidence = evidence
    if evidence.status != "Completed":
        raise Failed(
            f"the run failed: {evidence.problem}", "docs/operations.md has its failures, each with what to do."
        )
    took = world.took_s["the inference run"]
    return f"run {evidence.run_id} after {took:.0f} s."


def read_evidence(world: World) -> str:
    """Check the run's metrics in the evidence bucket, and their counts."""
    evidence = world.evidence
    assert evidence is not None
    s3 = world.client("s3")
    bucket, key = split_uri(evidence.metrics_uri, "metrics_uri")
    document = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    if document["counts"]["records"] != RECORDS:
        raise Failed(f"the run counted {document['counts']}, of {RECORDS} records.", "Send us the report.")
    folder = key.rpartition("score/")[0]
    outputs = [each["Key"] for each in _objects(s3, bucket, f"{folder}transform/") if each["Key"].endswith(".out")]
    text = "".join(s3.get_object(Bucket=bucket, Key=each)["Body"].read().decode() for each in outputs)
    world.empty_lines = sum(not line.strip() for line in text.splitlines())
    return f"{document['counts']['records']} records in {evidence.metrics_uri}."


def roll_back(world: World) -> str:
    """An operator's word brings version 1 back. Without its input the run that follows has nothing to do, and costs nothing."""
    for kind, place in world.made:
        if kind == "input":
            bucket, key = split_uri(place, kind)
            world.client("s3").delete_object(Bucket=bucket, Key=key)
    given = {"group": world.group, "environment": world.environment, "reason": REASON}
    _operate(world, lambda: operating.operate("rollback", given, as_json=True))
    world.until("version 1 live again", lambda: _live(world) == 1, minutes=5, do=LOGS)
    return f"{world.environment} is back at version 1."


def revoke(world: World) -> str:
    """An operator's word takes it out everywhere, and there is nothing to fall back to."""
    given = {"group": world.group, "version": "1", "reason": REASON}
    _operate(world, lambda: operating.operate("revoke", given, as_json=True))
    world.until("nothing live", lambda: _live(world) is None, minutes=5, do=LOGS)
    return f"nothing is live in {world.environment}."


def verified(world: World) -> str:
    """Chain, signatures, registry and parameters agree."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = checking.verify(world.group, repair=False, as_json=True)
    if code:
        raise Failed(f"promotion verify found: {said.getvalue()}", "Send us the report.")
    return "promotion verify finds no difference."


# In this order; what follows a step that failed is not tried.
STEPS: Mapping[str, Step] = {
    "find the installation": find,
    "make a group": make_group,
    "register version 1": register_first,
    "adopt version 1": adopt,
    "register version 2": register_second,
    "mail its approvers": mailed,
    "approve it, by one click": click,
    "resolve what is live": resolved,
    "follow in the registry": registry,
    "run inference": run,
    "read the evidence": read_evidence,
    "roll back": roll_back,
    "revoke": revoke,
    "verify": verified,
}
RECORDS = 3


def _register(world: World, version: int) -> str:
    """As a training job would: packed, uploaded and registered by nothing but boto3."""
    from examples import train_summarizer as summarizer

    with tempfile.TemporaryDirectory() as folder:
        model = summarizer.train(Path(folder) / "model", steps=1, seed=version, quiet=True)
        world.arns[version] = summarizer.register(
            summarizer.pack(model), _metrics(world), group=world.group, bucket=world.bucket, requested_by=REQUESTER,
            task=summarizer.TASK, image=world.machine.get("image") or IMAGE, session=world,
        )  # fmt: skip
    world.made.append(("package", world.arns[version]))

    def known() -> Any:
        state = world.view().find_version(version)
        return state if state is not None and not state.package.hashing else None

    state = world.until(f"version {version} in the ledger", known, minutes=15, do=LOGS)
    if state.package.problem:
        raise Failed(f"the artifact was refused: {state.package.problem}", "Send us the report.")
    took = world.took_s[f"version {version} in the ledger"]
    return f"{world.arns[version]}, in the ledger after {took:.0f} s."


def _metrics(world: World) -> dict[str, float]:
    """Metrics within the bounds of the environment's gates."""
    gates = world.config.environment(world.environment, world.group).gates
    named = {gate.metric: gate.min if gate.min is not None else gate.max for gate in gates if gate.metric}
    return {name: 0.0 if value is None else value for name, value in named.items()} or {"rougeL": 0.5}


def _request(world: World) -> Any:
    state = world.view().find_version(2)
    return state.requests.get(world.environment) if state is not None else None


def _live(world: World) -> int | None:
    """The version that the signed record names."""
    try:
        model = resolve(
            world.group, world.environment, public_key=world.public_key, prefix=world.prefix, ssm=world.client("ssm")
        )
    except NotApproved:
        return None
    return model.model_package_version


def _operate(world: World, ask: Callable[[], int]) -> None:
    try:
        with redirect_stdout(io.StringIO()):
            ask()
    except Refused as error:
        raise Failed(f"{world.caller} may not: {error}", OPERATOR) from error
    except PromotionError as error:
        raise Failed(str(error), LOGS) from error


def _objects(s3: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [each for page in pages for each in page.get("Contents", [])]


def clean_up(world: World) -> tuple[list[str], list[str]]:
    """Delete what was made, after any step; return what is gone, and what stays with its reason."""
    gone: list[str] = []
    stays = [
        f"{len(list(world.ledger.events(world.group)))} events of {world.group} in the ledger, and its parameters: the ledger "
        "forgets nothing, and `promotion verify` holds the parameters against it.",
        "Log lines of functions, machine and jobs, until their retention ends; anchors of the group, for a year.",
    ]
    for kind, what in reversed(world.made):
        try:
            _delete(world, kind, what)
            gone.append(what)
        except ClientError as error:
            stays.append(f"{what}: {error.response['Error'].get('Code')}. Delete it by hand.")
    if world.evidence is not None:
        bucket, key = split_uri(world.evidence.metrics_uri, "metrics_uri")
        try:
            count = _delete_versions(world, bucket, f"{key.partition('/')[0]}/")
            gone.append(f"{count} object versions of evidence")
        except ClientError as error:
            stays.append(f"s3://{bucket}/{world.group}/: {error.response['Error'].get('Code')}. It is a few kilobytes.")
    return gone, stays


def _delete(world: World, kind: str, what: str) -> None:
    sagemaker = world.client("sagemaker")
    if kind == "package":
        sagemaker.delete_model_package(ModelPackageName=what)
    elif kind == "group":
        sagemaker.delete_model_package_group(ModelPackageGroupName=what)
    else:
        bucket, key = split_uri(what, kind)
        _delete_versions(world, bucket, key)


def _delete_versions(world: World, bucket: str, prefix: str) -> int:
    s3, count = world.client("s3"), 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
            count += 1
    return count
