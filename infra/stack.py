"""The stack: connects its parts, and gives each function its permissions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.accounts import CrossAccount, share
from infra.api import Api
from infra.cdk_nag import explain_wildcards
from infra.endpoints import MODULE as ENDPOINTS
from infra.endpoints import Endpoints
from infra.events import Wiring
from infra.functions import Functions
from infra.grants import Duties
from infra.hashing_job import hashing_role
from infra.image import InferenceImage
from infra.inference import InferenceMachine
from infra.mail import Sender
from infra.monitoring import Monitoring, alarm_topic
from infra.permissions import Permissions
from infra.schedule import PUBLISHERS, schedule_runs
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config


class PromotionStack(Stack):
    """The whole service in one account."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Config,
        prefix: str,
        code: Path,
        image_root: Path | None = None,
        kept: Mapping[str, str] | None = None,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self._settings = settings
        self._prefix = prefix
        self._cross_account = CrossAccount(settings, prefix)
        far = bool(settings.cross_account)
        evidence = self._cross_account.evidence_bucket if far else None
        self.store = Store(
            self,
            "Store",
            alias=name,
            evidence_name=evidence,
            kept=kept,
            signing_key=settings.signing.key,
            ends_sessions=settings.identity.backchannel_logout,
        )
        self.api = Api(self, "Api", web=settings.web)
        bus = self._cross_account.here("events", f"event-bus/{name}") if far else None
        self.wiring = Wiring(self, "Wiring", bus_name=name, bus_arn=bus)
        self.functions = Functions(self, "Functions", code=code, prefix=prefix, named=far)
        if settings.web.subnets:
            # The only function that calls the identity provider.
            self.functions.place("sign_in", subnets=settings.web.subnets, security_groups=settings.web.security_groups)
        self.permissions = Permissions(self, self.store, settings, prefix)
        self.registry_role = self._registry_role()
        # No image is built for an installation with its own image, or one that runs from source.
        self.image = (
            InferenceImage(self, "InferenceImage", root=image_root, base=settings.inference.base_image)
            if image_root
            else None
        )
        image = settings.inference.image or (self.image.uri if self.image else "")
        self.machines = {
            environment.name: self._machine(environment.name, name)
            for environment in settings.environments
            if environment.name not in settings.cross_account
        }
        self.sender = Sender(self, settings.mail.sender, managed=settings.mail.identity == "managed")
        topic = alarm_topic(self)
        duties = Duties(
            functions=self.functions,
            store=self.store,
            wiring=self.wiring,
            permissions=self.permissions,
            registry_role=self.registry_role,
            hashing_role=hashing_role(self, self.store, self.permissions, role_name=f"{name}-hashing" if far else None),
            inference_image=image,
            configuration_set=self.sender.set_name,
            alarm_topic=topic.topic_arn,
            public_url=self.api.url,
        )
        duties.set_environment()
        duties.grant()
        self.api.route(self.functions)
        self.wiring.connect(self.functions, self.store, groups=settings.groups, reporters=settings.inference.reporters)
        self.wiring.follow_drift(self.functions, settings)
        self.wiring.tell_channels(self.functions, settings)
        if settings.inference.schedule is not None:
            schedule_runs(
                self, settings.inference.schedule, self.functions, self.permissions, self.wiring, self.store.ledger
            )
        self.wiring.guard_bus(
            [
                *(self.functions.role(name).role_arn for name in PUBLISHERS if name in self.functions.by_name),
                *(machine.role.role_arn for machine in self.machines.values()),
            ],
            settings.inference.reporters,
        )
        if any(environment.endpoint for environment in settings.environments):
            self.endpoints = Endpoints(
                self,
                "Endpoints",
                settings=settings,
                prefix=prefix,
                role_elsewhere=self._cross_account.role,
                functions=self.functions,
                permissions=self.permissions,
                store=self.store,
                wiring=self.wiring,
                machines=self.machines,
                inference_image=image,
            )
        copying = [module for module in ("prepare_inference", ENDPOINTS) if module in self.functions.by_name]
        self.store.guard_archives()
        self.store.guard_copies([self.functions.role(module).role_arn for module in copying])
        self.store.guard_runs(
            {name: machine.execution_role.role_arn for name, machine in self.machines.items()}
            | {name: self._cross_account.role(name, "execution") for name in settings.cross_account}
        )
        share(self, self._cross_account, self.wiring, self.store, self.functions, self.image)
        self.monitoring = Monitoring(
            self,
            "Monitoring",
            functions=self.functions,
            wiring=self.wiring,
            machines=self.machines,
            elsewhere=tuple(settings.cross_account),
            installation=names.installation(prefix),
            sender=self.sender,
            topic=topic,
            api_id=self.api.api_id,
            store=self.store,
            settings=settings,
        )
        self._service_parameter()
        self._outputs()
        explain_wildcards(self)

    def _registry_role(self) -> iam.Role:
        """Make the role that writes the registry; CloudTrail shows the approver as its SourceIdentity."""
        projector = self.functions.role("on_projection_due")
        role = iam.Role(
            self,
            "RegistryRole",
            description="Writes decisions to the Model Registry, in the name of who decided",
            assumed_by=iam.ArnPrincipal(projector.role_arn),
        )
        trust = role.assume_role_policy
        assert trust is not None
        trust.add_statements(
            iam.PolicyStatement(actions=["sts:SetSourceIdentity"], principals=[iam.ArnPrincipal(projector.role_arn)])
        )
        for statement in self.permissions.write_registry():
            role.add_to_policy(statement)
        return role

    def _machine(self, environment: str, service: str) -> InferenceMachine:
        settings = self._settings.at(environment)
        made = InferenceMachine(
            self,
            f"Inference{environment.title().replace('-', '')}",
            environment=settings.base_environment(environment),
            settings=settings,
            permissions=Permissions(self, self.store, settings, self._prefix),
            evidence=self.store.evidence,
            bus=self.wiring.bus,
            prepare=self.functions["prepare_inference"],
            machine_name=f"{service}-inference-{environment}",
            # The bus's policy names the role before the role exists.
            role_names={"machine": names.environment_role(self._prefix, environment, "machine")}
            if self._settings.cross_account
            else None,
        )
        made.start_on_promotion(self.wiring.undelivered, scheduled=settings.inference.schedule is not None)
        return made

    def _service_parameter(self) -> None:
        store, wiring = self.store, self.wiring
        known = {
            "api_url": self.api.url,
            "ledger_table": store.ledger.table_name,
            "projections_table": store.projections.table_name,
            "signing_key_arn": store.signing_key.key_arn,
            "event_bus": wiring.bus.event_bus_name,
            "region": self.region,
            "dead_letter_queue_url": wiring.dead_letters.queue_url,
            "wake_queue_url": wiring.wake.queue_url,
            "undelivered_queue_url": wiring.undelivered.queue_url,
            "registrations_queue_url": wiring.registrations.queue_url,
            "anchor_bucket": store.anchors.bucket_name,
            "evidence_bucket": store.evidence.bucket_name,
            "inference_machines": {
                **{name: made.machine.state_machine_arn for name, made in self.machines.items()},
                **self._cross_account.machines,
            },
            # Used by `promotion doctor`.
            "identity_secret_arn": store.identity_secret.secret_arn,
            "alarm_topic": self.monitoring.topic.topic_arn,
            "policy_digest": self._settings.policy_digest(),
            "release": names.RELEASE,
        }
        ssm.StringParameter(
            self,
            "Service",
            description="Where the promotion command finds this installation",
            parameter_name=names.service_parameter(self._prefix),
            string_value=self.to_json_string(known),
        )

    def _outputs(self) -> None:
        """Write the stack's outputs: the next steps and their values."""
        store, url = self.store, self.api.url
        identity = self.sender.identity
        records = [record.name + " CNAME " + record.value for record in identity.dkim_records] if identity else []
        sender_domain = self._settings.mail.sender.partition("@")[2]
        outputs = {
            "ApiUrl": (url, "Where people decide"),
            "CallbackUrl": (f"{url}/callback", "Enter this as the redirect URI at the identity provider"),
            "IdentitySecretArn": (
                store.identity_secret.secret_arn,
                "Put the provider's client secret here, as client_secret: docs/deploy.md has the command",
            ),
            "SigningKeyArn": (
                store.signing_key.key_arn,
                "aws kms get-public-key --key-id … gives the key that pipelines verify with",
            ),
            "LedgerTable": (
                store.ledger.table_name,
                "Every decision. cdk destroy leaves it, the buckets and the signing key",
            ),
            "EvidenceBucket": (store.evidence.bucket_name, "Metrics, pictures and predictions of every inference run"),
            "AlarmTopic": (self.monitoring.topic.topic_arn, "Subscribe whoever answers for the service to its alarms"),
            "EventBus": (self.wiring.bus.event_bus_name, "What happened to models, for rules of your own"),
        }
        if records:
            told = f"DNS records to make at {sender_domain}; no mail leaves before that"
            outputs["SesRecords"] = ("; ".join(records), told)
        if self.image is not None:
            outputs["InferenceImageUri"] = (self.image.uri, "Name this image in the packages that you register")
            outputs["InferenceBaseImage"] = (
                self.image.base,
                "As [advanced.inference] base_image: the next build is on these bytes",
            )
        if self.api.domain is not None:
            target = self.api.domain.regional_domain_name
            outputs["DomainTarget"] = (target, f"Point {self._settings.web.domain_name} here with a CNAME record")
        for name, (value, description) in outputs.items():
            CfnOutput(self, name, value=value, description=description)
