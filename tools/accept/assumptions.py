"""Assumptions that only a live account can confirm: each holds, fails or stays unknown, with what to do.

They are the ends of docs/deploy.md and of what readers of AWS's documentation could not decide. Each looks at what the steps
have seen, or asks AWS itself; none changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.domain import instance_types
from tools.accept.world import World

State = Literal["holds", "doesn't", "couldn't tell"]
# The sweep looks every five minutes for what no event told of.
SWEEP_S = 300
# The time that an HTTP API waits for a function, less a margin: a cold start has to fit in.
COLD_S = 10
EMULATED = "AWS is an emulator here."


@dataclass(frozen=True)
class Verdict:
    """Result of an assumption after the steps."""

    state: State
    found: str
    do: str = ""


def holds(found: str) -> Verdict:
    return Verdict("holds", found)


def fails(found: str, do: str) -> Verdict:
    return Verdict("doesn't", found, do)


def unknown(found: str, do: str = "") -> Verdict:
    return Verdict("couldn't tell", found, do)


def _registration_is_told(world: World) -> Verdict:
    took = world.took_s.get("version 1 in the ledger")
    if took is None:
        return unknown("no version came into the ledger.")
    if took < SWEEP_S:
        return holds(f"{took:.0f} s, sooner than the sweep comes round.")
    return fails(
        f"{took:.0f} s: the sweep may have found it.", "Look at the rule's invocations in the EventBridge console."
    )


def _capitals(world: World) -> Verdict:
    if world.emulated:
        return unknown(f"{EMULATED} It compares names as given.")
    if 1 not in world.arns or "version 1 in the ledger" not in world.took_s:
        return unknown(f"{world.group} was not described.")
    return holds(f"{world.group} was described, shared and updated by roles that name both spellings.")


def _registry_conditions(world: World) -> Verdict:
    if "the registry" not in world.took_s:
        return unknown("no version went live.", "Mend the step that failed, and run it again.")
    return holds("UpdateModelPackage passed the role's conditions on status, stage and fields.")


def _sender(world: World) -> Verdict:
    address = world.config.mail.sender
    client = world.client("sesv2")
    for name in (address, address.rpartition("@")[2]):
        try:
            if client.get_email_identity(EmailIdentity=name).get("VerifiedForSendingStatus"):
                return holds(f"SES has verified {name}.")
        except client.exceptions.NotFoundException:
            continue
    if world.emulated:
        return unknown(f"{EMULATED} It verifies nobody.")
    return fails(
        f"SES has verified neither {address} nor its domain.", "Make the DNS records of the output SesRecords."
    )


def _sandbox(world: World) -> Verdict:
    if world.emulated:
        return unknown(EMULATED)
    if world.client("sesv2").get_account().get("ProductionAccessEnabled"):
        return holds("SES is out of its sandbox.")
    return fails(
        "SES mails verified addresses only.", "Ask for production access: docs/deploy.md, SES out of the sandbox."
    )


def _root_writes(world: World) -> Verdict:
    if world.evidence is None:
        return unknown("no run ended.", "Mend the step that failed, and run it again.")
    if world.evidence.status != "Completed":
        return fails(world.evidence.problem, "Read the processing job's log; send us the report.")
    return holds("the score's job left its output.")


def _assembled(world: World) -> Verdict:
    if world.empty_lines is None:
        return unknown("no run's output was read.")
    return holds(f"{world.empty_lines} empty lines in the assembled output; the score skips them.")


def _transform_ami(world: World) -> Verdict:
    wanted = world.config.inference
    if not instance_types.has_gpu(wanted.instance_type):
        return unknown(
            f"{wanted.instance_type} has no GPU.", "Set a GPU type under [inference], deploy, and run it again."
        )
    if world.emulated or world.evidence is None:
        return unknown(EMULATED if world.emulated else "no run ended.")
    device = str(world.evidence.engine.get("device", ""))
    if device.startswith("cuda"):
        ami = instance_types.transform_ami(wanted.instance_type, wanted.transform_ami_version)
        return holds(f"computed on {device}, with {ami}.")
    problem = world.evidence.problem or f"computed on {device or 'nothing that is known'}"
    return fails(problem, "Set [advanced.inference] transform_ami_version, or a CPU type; send us the report.")


def _endpoint_ami(world: World) -> Verdict:
    endpoint = world.config.base_environment(world.environment).endpoint
    if endpoint is None or not endpoint.serves(world.group):
        return unknown(f"{world.environment} serves no endpoint for {world.group}.", "Only where you want endpoints.")
    state = world.view().environment(world.environment).endpoint
    if state.status == names.ENDPOINT_IN_SERVICE:
        return holds(f"{state.name} came into service.")
    return unknown(f"{state.name or 'the endpoint'} is {state.status or 'not there yet'}: {state.problem}")


def _far_targets(world: World) -> Verdict:
    if not world.config.cross_account:
        return unknown("all environments are in one account.")
    rules = world.client("events")
    bus = world.installation["event_bus"]
    targets = [
        target["Arn"]
        for page in rules.get_paginator("list_rules").paginate(EventBusName=bus)
        for rule in page["Rules"]
        for found in rules.get_paginator("list_targets_by_rule").paginate(Rule=rule["Name"], EventBusName=bus)
        for target in found["Targets"]
    ]
    there = {
        account for account in world.config.cross_account.values() if any(f":{account}:" in arn for arn in targets)
    }
    if missing := sorted(set(world.config.cross_account.values()) - there):
        return fails(f"no rule has a target in {', '.join(missing)}.", "Deploy again: the buses come first.")
    return holds(f"rules have targets on the buses of {len(there)} other accounts.")


def _far_run(world: World) -> Verdict:
    if not world.config.cross_account:
        return unknown("all environments are in one account.")
    if world.environment not in world.config.cross_account:
        name = next(iter(world.config.cross_account))
        return unknown(
            f"{world.environment} is in the service's account.", f"Promote a model to {name}: its run shows it."
        )
    if world.evidence is None:
        return fails(
            "no run was heard of.", "Look at the rules in the environment's account, and their dead-letter queue."
        )
    return holds(f"a run of {world.environment} was started by an event there, and reported back.")


def _image(world: World) -> Verdict:
    if world.config.inference.image is not None:
        return unknown("[advanced.inference] image names one: none is built.")
    if world.emulated:
        return unknown(f"{EMULATED} It builds none.")
    image = str(world.machine.get("image") or "")
    if "@sha256:" not in image and ":" not in image:
        return fails("the machine knows no image.", "Look at the build in the CodeBuild console.")
    return holds(f"CodeBuild made {image.rpartition('/')[2]}.")


def _instances(world: World) -> Verdict:
    if world.emulated:
        return unknown(f"{EMULATED} It has no quota.")
    if world.evidence is None:
        return unknown("no run ended.", "promotion doctor looks at the quotas.")
    return holds(f"a run took {world.took_s.get('the inference run', 0):.0f} s, waiting for instances included.")


def _domain(world: World) -> Verdict:
    if world.config.web.domain_name is None:
        return unknown("no domain of one's own is set.")
    if "first answer" not in world.took_s:
        return fails(
            f"{world.config.web.domain_name} does not answer.", "Make the CNAME record of the output DomainTarget."
        )
    return holds(f"{world.config.web.domain_name} answers.")


def _cold_start(world: World) -> Verdict:
    took = world.took_s.get("first answer")
    if world.emulated or took is None:
        return unknown(EMULATED if world.emulated else "the pages did not answer.")
    if took < COLD_S:
        return holds(f"the first answer took {took:.1f} s.")
    return fails(f"the first answer took {took:.1f} s.", "Send us the report.")


def _object_lock(world: World) -> Verdict:
    client = world.client("s3")
    found = client.get_object_lock_configuration(Bucket=world.installation["anchor_bucket"])
    retention = found["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
    if retention.get("Mode") == "COMPLIANCE":
        return holds(f"anchors are kept in compliance mode for {retention.get('Days')} days.")
    return fails(f"the anchors' bucket says {retention}.", "Deploy again.")


ASSUMPTIONS: Mapping[str, Callable[[World], Verdict]] = {
    "Batch Transform's AMI runs the image's CUDA by cuda-compat": _transform_ami,
    "the endpoints' AMI runs the image's CUDA": _endpoint_ami,
    "EventBridge takes a rule's target on another account's bus": _far_targets,
    "a forwarded event passes the other bus's denials, and Step Functions invokes across accounts": _far_run,
    "the assembled output is read, empty lines or not": _assembled,
    "a processing job's container may write its output": _root_writes,
    "IAM compares a group's name with capitals as given": _capitals,
    "EventBridge tells of a registration": _registration_is_told,
    "the registry takes what the projector writes": _registry_conditions,
    "CodeBuild builds the image": _image,
    "the account has the instances": _instances,
    "SES knows the sender": _sender,
    "SES mails approvers": _sandbox,
    "the domain leads to the pages": _domain,
    "a cold start is answered in time": _cold_start,
    "anchors can't be deleted for a year": _object_lock,
}


def look(world: World) -> dict[str, Verdict]:
    """Every assumption, whatever the steps reached."""
    found: dict[str, Verdict] = {}
    for name, check in ASSUMPTIONS.items():
        try:
            found[name] = check(world)
        except (ClientError, BotoCoreError, KeyError) as error:
            found[name] = unknown(f"{type(error).__name__}: {error}", "Run it as somebody who may look.")
    return found
