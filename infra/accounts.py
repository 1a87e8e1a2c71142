"""Environments in their own accounts: resources, access to this account, and statements for owners of buckets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.events import Wiring
from infra.functions import Functions
from infra.image import InferenceImage
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config
from promotion.config.resources import partition_of, suffix_of

# Functions that read artifacts, and functions that read evidence: infra/grants.py.
ARTIFACT_READERS = ("on_model_registered", "prepare_inference", "on_inference_completed", "on_live_changed")
EVIDENCE_READERS = ("on_inference_completed", "web", "on_projection_due")
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


class CrossAccount:
    """Names that are fixed before either account is deployed, because a policy in one names roles in the other."""

    def __init__(self, settings: Config, prefix: str) -> None:
        self.settings = settings
        self.prefix = prefix
        self.service = names.installation(prefix)
        self.account = settings.registry.account or ""
        self.region = settings.registry.region or ""
        self.partition = partition_of(self.region)

    @property
    def evidence_bucket(self) -> str:
        return f"{self.service}-evidence-{self.account}-{self.region}"

    def here(self, service: str, resource: str) -> str:
        """Return an ARN in the registry's account."""
        return f"arn:{self.partition}:{service}:{'' if service == 'iam' else self.region}:{self.account}:{resource}"

    def there(self, environment: str, service: str, resource: str) -> str:
        """Return an ARN in the account of an environment."""
        account = self.settings.cross_account[environment]
        return f"arn:{self.partition}:{service}:{'' if service == 'iam' else self.region}:{account}:{resource}"

    def role(self, environment: str, purpose: str) -> str:
        """Return the ARN of a role there; a configured execution role has its own name."""
        own = next(each.execution_role for each in self.settings.environments if each.name == environment)
        if purpose == "execution" and own:
            return own
        return self.there(environment, "iam", f"role/{names.environment_role(self.prefix, environment, purpose)}")

    def roles(self, purpose: str) -> list[str]:
        return [self.role(environment, purpose) for environment in self.settings.cross_account]

    def function_role(self, module: str) -> str:
        """Return the ARN of the role of one of this stack's functions."""
        return self.here("iam", f"role/{self.service}-{module.replace('_', '-')}")

    def machine(self, environment: str) -> str:
        return f"{self.service}-inference-{environment}"

    @property
    def announced(self) -> list[str]:
        """Sources of the events that are sent to the environments' accounts."""
        scheduled = self.settings.inference.schedule is not None
        return [names.EVENT_SOURCE, *([names.SCHEDULE_SOURCE] if scheduled else [])]

    @property
    def machines(self) -> dict[str, str]:
        """ARNs of the inference machines in other accounts."""
        return {
            name: self.there(name, "states", f"stateMachine:{self.machine(name)}")
            for name in self.settings.cross_account
        }

    def owners_statements(self) -> dict[str, list[dict[str, Any]]]:
        """Return statements for policies of buckets and keys that this app doesn't own, by file name."""
        runs = self.roles("execution")
        found: dict[str, list[dict[str, Any]]] = {}
        for bucket in sorted({*self.settings.artifacts.buckets, *self.settings.data_buckets}):
            at = f"arn:{self.partition}:s3:::{bucket}"
            found[f"bucket-{bucket}"] = [
                _statement("PromotionReads", runs, ["s3:GetObject", "s3:GetObjectVersion"], f"{at}/*"),
                _statement("PromotionLists", runs, ["s3:ListBucket", "s3:GetBucketLocation"], at),
            ]
        via = {"StringEquals": {"kms:ViaService": f"s3.{self.region}.{suffix_of(self.region)}"}}
        readers = [*map(self.function_role, ARTIFACT_READERS), self.here("iam", f"role/{self.service}-hashing"), *runs]
        decrypt = ["kms:Decrypt", "kms:DescribeKey"]
        found["key-of-artifacts"] = [_statement("PromotionDecrypts", readers, decrypt, conditions=via)]
        for key, users in sorted(self._foreign_keys().items()):
            encrypt = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
            granting = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
            found[f"key-{key.rpartition('/')[2]}"] = [
                _statement("PromotionEncrypts", users, encrypt),
                _statement("PromotionGrants", users, ["kms:CreateGrant"], conditions=granting),
            ]
        for key in self.settings.output_keys:
            if key.split(":")[4] != self.account:
                showing = [self.function_role(module) for module in EVIDENCE_READERS]
                shown = _statement("PromotionShows", showing, ["kms:Decrypt"], conditions=via)
                found.setdefault(f"key-{key.rpartition('/')[2]}", []).append(shown)
        pulls = _statement("PromotionPulls", runs, PULL)
        # A repository's policy applies to the repository only, and has no resource.
        found["repository-of-images"] = [{name: value for name, value in pulls.items() if name != "Resource"}]
        return found

    def _foreign_keys(self) -> dict[str, list[str]]:
        """Return keys of volumes and outputs in an account other than the jobs', with the roles that use them."""
        found: dict[str, list[str]] = {}
        for environment, account in self.settings.cross_account.items():
            inference = self.settings.at(environment).inference
            for key in sorted({inference.volume_key, inference.output_key} - {None, ""}, key=str):
                if str(key).split(":")[4:5] != [account]:
                    found.setdefault(str(key), []).append(self.role(environment, "execution"))
        return found

    def write(self, folder: Path) -> None:
        """Write the statements to files, for the owners of the resources."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, statements in self.owners_statements().items():
            document = {"Version": "2012-10-17", "Statement": statements}
            (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _statement(
    sid: str,
    roles: Sequence[str],
    actions: Sequence[str],
    resource: str = "*",
    *,
    conditions: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a statement for another owner's policy that allows roles, by their accounts: see `of_roles`."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": sorted({role.split(":")[4] for role in roles})},
        "Action": list(actions),
        "Resource": resource,
        "Condition": {**(conditions or {}), "ArnEquals": {"aws:PrincipalArn": list(roles)}},
    }


def of_roles(roles: Sequence[str]) -> dict[str, Any]:
    """Return principals and condition of a policy's statement about roles of other accounts.

    The roles themselves are never principals, because a policy stores such a role by its id and then denies a new role
    with the same name.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    accounts = sorted({role.split(":")[4] for role in roles})
    return {
        "principals": [iam.AccountPrincipal(account) for account in accounts],
        "conditions": {"ArnEquals": {"aws:PrincipalArn": list(roles)}},
    }


def share(
    scope: Construct,
    far: CrossAccount,
    wiring: Wiring,
    store: Store,
    functions: Functions,
    image: InferenceImage | None,
) -> None:
    """Let the environments' accounts exchange events, write evidence, pull the image and prepare runs."""
    if not far.settings.cross_account:
        return
    forwarder = iam.Role(
        scope,
        "Forwarder",
        role_name=f"{far.service}-forwarder",
        description="Tells the environments' accounts what happened",
        assumed_by=iam.ServicePrincipal(
            "events.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": far.account}}
        ),
    )
    for environment in far.settings.cross_account:
        title = _title(environment)
        bus = events.EventBus.from_event_bus_arn(
            scope, f"BusOf{title}", far.there(environment, "events", f"event-bus/{far.service}")
        )
        events.Rule(
            scope,
            f"To{title}",
            description=f"Tells the account of {environment}",
            event_bus=wiring.bus,
            # A revocation belongs to no environment, but affects all of them.
            event_pattern=events.EventPattern(
                source=far.announced, detail={"environment": [environment, {"exists": False}]}
            ),
            targets=[targets.EventBus(bus, role=forwarder, dead_letter_queue=wiring.undelivered)],
        )
        store.let_into_evidence(
            iam.PolicyStatement(
                sid=f"Runs{title}",
                **of_roles([far.role(environment, "execution")]),
                actions=["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                resources=[store.evidence.arn_for_objects(f"*/{environment}/*")],
            )
        )
    _let_machines_prepare(scope, far, functions)
    executing = of_roles(far.roles("execution"))
    store.let_into_evidence(
        iam.PolicyStatement(
            sid="RunsList",
            **executing,
            actions=["s3:ListBucket", "s3:GetBucketLocation"],
            resources=[store.evidence.bucket_arn],
        )
    )
    store.let_into_evidence(
        iam.PolicyStatement(
            sid="RunsReadCopies",
            **executing,
            actions=["s3:GetObject"],
            resources=[store.evidence.arn_for_objects(f"{names.COPIES}/*")],
        )
    )
    if image is not None:
        image.repository.add_to_resource_policy(iam.PolicyStatement(sid="RunsPull", actions=list(PULL), **executing))


def _let_machines_prepare(scope: Construct, far: CrossAccount, functions: Functions) -> None:
    """Allow the machines in other accounts, and no other principal there, to prepare their runs.

    A whole policy, because AddPermission supports no condition on a principal's ARN. It replaces any other policy:
    https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
    """
    prepare = functions["prepare_inference"]
    statement = iam.PolicyStatement(
        sid="MachinesPrepare",
        **of_roles(far.roles("machine")),
        actions=["lambda:InvokeFunction"],
        resources=[prepare.function_arn],
    )
    lambda_.CfnResourcePolicy(
        scope,
        "PreparePolicy",
        resource_arn=prepare.function_arn,
        policy_document=iam.PolicyDocument(statements=[statement]),
    )


def _title(environment: str) -> str:
    return environment.title().replace("-", "")
