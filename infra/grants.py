"""Environment variables and permissions of each function, in two tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import aws_iam as iam

from infra.events import Wiring
from infra.functions import Functions
from infra.permissions import Permissions, allow
from infra.storage import Store
from promotion import names

# Each function gets only the variables that it needs.
TOLD: Mapping[str, tuple[str, ...]] = {
    "on_model_registered": (
        names.REGISTRATIONS_QUEUE_URL,
        names.LEDGER_TABLE,
        names.OWN_KEY_ARN,
        names.RECORD_FUNCTION,
        names.EVIDENCE_BUCKET,
        names.HASHING_ROLE_ARN,
        names.INFERENCE_IMAGE,
    ),
    "on_approval_changed": (names.RECORD_FUNCTION, names.REGISTRATIONS_QUEUE_URL),
    "decide": (
        names.LEDGER_TABLE,
        names.LINK_KEYS_SECRET_ARN,
        names.FORM_KEYS_SECRET_ARN,
        names.SESSION_KEY_ARN,
        names.SIGNING_KEY_ARN,
        names.PUBLIC_URL,
        names.INFERENCE_IMAGE,
    ),
    "operate": (
        names.LEDGER_TABLE,
        names.SIGNING_KEY_ARN,
        names.PUBLIC_URL,
        names.EVIDENCE_BUCKET,
        names.REGISTRATIONS_QUEUE_URL,
    ),
    "record": (names.LEDGER_TABLE, names.SIGNING_KEY_ARN),
    "sign_in": (
        names.SIGN_IN_KEYS_SECRET_ARN,
        names.SESSION_KEY_ARN,
        names.IDENTITY_SECRET_ARN,
        names.PUBLIC_URL,
    ),
    "web": (
        names.LEDGER_TABLE,
        names.PROJECTIONS_TABLE,
        names.LINK_KEYS_SECRET_ARN,
        names.FORM_KEYS_SECRET_ARN,
        names.SESSION_KEY_ARN,
        names.PUBLIC_URL,
        names.INFERENCE_IMAGE,
    ),
    "on_ledger_appended": (names.WAKE_QUEUE_URL,),
    "on_projection_due": (
        names.LEDGER_TABLE,
        names.PROJECTIONS_TABLE,
        names.REGISTRY_ROLE_ARN,
        names.SIGNING_KEY_ARN,
        names.LINK_KEYS_SECRET_ARN,
        names.EVENT_BUS_NAME,
        names.PUBLIC_URL,
        names.WAKE_QUEUE_URL,
        names.LATER_QUEUE_URL,
        names.DEAD_LETTER_QUEUE_URL,
        names.ALARM_TOPIC_ARN,
        names.CONFIGURATION_SET,
        names.EVIDENCE_BUCKET,
    ),
    "sweep": (names.LEDGER_TABLE, names.OWN_KEY_ARN, names.RECORD_FUNCTION, names.REGISTRATIONS_QUEUE_URL),
    "prepare_inference": (names.LEDGER_TABLE, names.SIGNING_KEY_ARN, names.EVIDENCE_BUCKET, names.INFERENCE_IMAGE),
    "on_inference_completed": (names.RECORD_FUNCTION, names.EVIDENCE_BUCKET),
    "on_monitoring_completed": (names.RECORD_FUNCTION,),
    "on_drift_detected": (names.RECORD_FUNCTION,),
    "on_event_published": (names.LEDGER_TABLE, names.LINK_KEYS_SECRET_ARN, names.PUBLIC_URL),
    "verify": (
        names.LEDGER_TABLE,
        names.PROJECTIONS_TABLE,
        names.SIGNING_KEY_ARN,
        names.ANCHOR_BUCKET,
        names.EVIDENCE_BUCKET,
        names.VERIFY_QUEUE_URL,
    ),
}
# With `[advanced.identity] backchannel_logout`, functions that read sessions also read which ones the provider has
# ended.
SESSION_READERS = ("sign_in", "web", "decide")


@dataclass(frozen=True)
class Duties:
    """The functions, and the resources that they use."""

    functions: Functions
    store: Store
    wiring: Wiring
    permissions: Permissions
    registry_role: iam.IRole
    hashing_role: iam.IRole
    inference_image: str
    configuration_set: str
    alarm_topic: str
    public_url: str

    def set_environment(self) -> None:
        """Set the functions' environment variables."""
        store, functions, wiring = self.store, self.functions, self.wiring
        known = {
            names.LEDGER_TABLE: store.ledger.table_name,
            names.PROJECTIONS_TABLE: store.projections.table_name,
            names.SIGNING_KEY_ARN: store.signing_key.key_arn,
            names.OWN_KEY_ARN: store.own_key.key_arn,
            names.LINK_KEYS_SECRET_ARN: store.link_keys.secret_arn,
            names.FORM_KEYS_SECRET_ARN: store.form_keys.secret_arn,
            names.SIGN_IN_KEYS_SECRET_ARN: store.sign_in_keys.secret_arn,
            names.SESSION_KEY_ARN: store.session_key.key_arn,
            names.IDENTITY_SECRET_ARN: store.identity_secret.secret_arn,
            names.EVENT_BUS_NAME: wiring.bus.event_bus_name,
            names.PUBLIC_URL: self.public_url,
            names.WAKE_QUEUE_URL: wiring.wake.queue_url,
            names.VERIFY_QUEUE_URL: wiring.verifications.queue_url,
            names.DEAD_LETTER_QUEUE_URL: wiring.dead_letters.queue_url,
            names.REGISTRY_ROLE_ARN: self.registry_role.role_arn,
            names.RECORD_FUNCTION: functions["record"].function_name,
            names.REGISTRATIONS_QUEUE_URL: wiring.registrations.queue_url,
            names.LATER_QUEUE_URL: wiring.later.queue_url,
            names.EVIDENCE_BUCKET: store.evidence.bucket_name,
            names.ANCHOR_BUCKET: store.anchors.bucket_name,
            names.HASHING_ROLE_ARN: self.hashing_role.role_arn,
            names.INFERENCE_IMAGE: self.inference_image,
            names.ALARM_TOPIC_ARN: self.alarm_topic,
            names.CONFIGURATION_SET: self.configuration_set,
        }
        for module, variables in TOLD.items():
            functions.set_environment(module, **{variable: known[variable] for variable in variables})
        if store.ended_sessions is not None:
            for module in SESSION_READERS:
                functions.set_environment(module, **{names.ENDED_SESSIONS_TABLE: store.ended_sessions.table_name})

    def grant(self) -> None:
        """Grant the functions' permissions.

        `decide`, `operate` and `record` append to the ledger, the projector writes to the targets, and no function may
        invoke `decide` or `operate`.
        """
        may, functions, wiring = self.permissions, self.functions, self.wiring
        append = [may.read_ledger(), may.append_to_ledger(), may.sign(), *may.sign_changes()]
        record = may.invoke(functions["record"].function_arn)
        register = may.send(wiring.registrations)
        link_keys = allow(["secretsmanager:GetSecretValue"], [self.store.link_keys.secret_arn])
        form_keys = allow(["secretsmanager:GetSecretValue"], [self.store.form_keys.secret_arn])
        sign_in_keys = allow(["secretsmanager:GetSecretValue"], [self.store.sign_in_keys.secret_arn])
        read_sessions = allow(["kms:GetPublicKey"], [self.store.session_key.key_arn])
        make_sessions = allow(["kms:Sign"], [self.store.session_key.key_arn])
        client_secret = allow(["secretsmanager:GetSecretValue"], [self.store.identity_secret.secret_arn])
        granted: Mapping[str, list[iam.PolicyStatement]] = {
            "on_model_registered": [
                may.consume(wiring.registrations),
                may.describe_packages(),
                may.resolve_images(),
                *may.read_artifacts(),
                may.read_ledger(),
                *may.know_installation(),
                record,
                *may.share_groups(),
                *may.start_hashing(self.hashing_role.role_arn),
                may.keep_manifests(),
            ],
            "on_approval_changed": [may.describe_packages(), record, register],
            "decide": [
                *append,
                may.describe_packages(),
                *may.read_registered_metrics(),
                link_keys,
                form_keys,
                read_sessions,
            ],
            "operate": [*append, *may.write_reports(), register],
            "record": append,
            "sign_in": [read_sessions, make_sessions, sign_in_keys, client_secret],
            "web": [
                may.read_ledger(),
                may.read_active_groups(),
                may.read_projections(),
                may.describe_packages(),
                link_keys,
                form_keys,
                read_sessions,
                *may.read_evidence(),
                *may.read_registered_metrics(),
            ],
            "on_ledger_appended": [
                *may.follow_ledger(),
                may.consume(wiring.later),
                may.send(wiring.wake, wiring.undelivered),
            ],
            "on_projection_due": [
                may.consume(wiring.wake),
                may.read_ledger(),
                may.write_projections(),
                allow(["sts:AssumeRole", "sts:SetSourceIdentity"], [self.registry_role.role_arn]),
                may.read_parameters(),
                may.write_parameters(),
                may.sign(),
                may.publish_events(wiring.bus.event_bus_arn),
                may.send_mail(self.configuration_set),
                link_keys,
                *may.read_evidence(),
                may.keep_attestations(),
                *may.fold_runs(),
                *may.archive_histories(),
                may.read_public_key(),
                may.send(wiring.dead_letters, wiring.later),
                allow(["sns:Publish"], [self.alarm_topic]),
                *may.act_elsewhere("writer"),
            ],
            "sweep": [
                may.list_packages(),
                may.describe_packages(),
                may.read_ledger(),
                *may.know_installation(),
                record,
                register,
            ],
            "prepare_inference": [
                may.read_parameters(),
                may.read_public_key(),
                *may.read_artifacts(),
                *may.find_inputs(),
                may.read_ledger(),
                may.write_run_context(),
                *may.keep_copies(),
                *may.act_elsewhere("reader"),
            ],
            "on_inference_completed": [*may.read_evidence(), *may.read_artifacts(), may.describe_runs(), record],
            "on_monitoring_completed": [*may.follow_monitors(), record],
            "on_drift_detected": [*may.start_retraining(), record],
            "on_event_published": [may.read_ledger(), link_keys, *may.tell_channels()],
            "verify": [
                may.read_ledger(),
                may.read_parameters(),
                may.read_public_key(),
                may.list_packages(),
                may.describe_packages(),
                may.read_projections(),
                may.write_differences(),
                may.write_anchors(),
                may.read_anchors(),
                *may.read_histories(),
                may.keep_checkpoints(),
                may.consume(wiring.verifications),
                may.send(wiring.verifications),
                *may.act_elsewhere("reader"),
            ],
        }
        for module, statements in granted.items():
            functions.grant(module, statements)
        if self.store.ended_sessions is not None:
            ended = [self.store.ended_sessions.table_arn]
            for module in SESSION_READERS:
                functions.grant(module, [allow(["dynamodb:GetItem"], ended)])
            functions.grant("sign_in", [allow(["dynamodb:PutItem"], ended)])
