"""The calls that matter, and which of them each function may make."""

from __future__ import annotations

from promotion import names
from tests.infra.synthesized import Template

HERE = "<AWS::Region>:<AWS::AccountId>"
PACKAGE = f"arn:<AWS::Partition>:sagemaker:{HERE}:model-package/summaries/3"
LIVE = f"arn:<AWS::Partition>:ssm:{HERE}:parameter/promotion/summaries/prod/live"
ELSEWHERE = f"arn:<AWS::Partition>:ssm:{HERE}:parameter/database/password"
SENDER = f"arn:<AWS::Partition>:ses:{HERE}:identity/example.com"
FROM_US = {"ses:FromAddress": "models@example.com"}
ARTIFACT = "arn:<AWS::Partition>:s3:::promotion-models/v3/model.tar.gz"


def calls(template: Template) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Calls that matter, by a name to speak of them: action, resource, context."""
    ledger = f"<{template.the('AWS::DynamoDB::Table', 'StoreLedger')[0]}.Arn>"
    projections = f"<{template.the('AWS::DynamoDB::Table', 'StoreProjections')[0]}.Arn>"
    evidence = f"<{template.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    anchors = f"<{template.the('AWS::S3::Bucket', 'StoreAnchors')[0]}.Arn>"
    key = f"<{template.the('AWS::KMS::Key', 'StoreSigningKey')[0]}.Arn>"
    links = f"<{template.the('AWS::SecretsManager::Secret', 'StoreLinkKeys')[0]}>"
    forms, sign_ins = (
        f"<{template.the('AWS::SecretsManager::Secret', name)[0]}>" for name in ("StoreFormKeys", "StoreSignInKeys")
    )
    session_key = f"<{template.the('AWS::KMS::Key', 'StoreSessionKey')[0]}.Arn>"
    identity = f"<{template.the('AWS::SecretsManager::Secret', 'StoreIdentitySecret')[0]}>"
    wake = f"<{template.the('AWS::SQS::Queue', 'WiringWake')[0]}.Arn>"
    bus = f"<{template.the('AWS::Events::EventBus', 'WiringBus')[0]}.Arn>"
    registry = f"<{template.the('AWS::IAM::Role', 'RegistryRole')[0]}.Arn>"
    decide, operate, record, sign_in, web = (
        f"<{template.function(module)[0]}.Arn>" for module in ("decide", "operate", "record", "sign_in", "web")
    )
    registrations, later = (
        f"<{template.the('AWS::SQS::Queue', name)[0]}.Arn>" for name in ("WiringRegistrations", "WiringLater")
    )
    hashing = f"<{template.the('AWS::IAM::Role', 'HashingRole')[0]}.Arn>"
    jobs = f"arn:<AWS::Partition>:sagemaker:{HERE}:processing-job"
    return {
        "read the ledger": ("dynamodb:Query", ledger, {}),
        "read states by one call": ("dynamodb:BatchGetItem", ledger, {}),
        "append to the ledger": ("dynamodb:PutItem", ledger, {}),
        "change the ledger's heads": ("dynamodb:UpdateItem", ledger, {}),
        "delete from the ledger": ("dynamodb:DeleteItem", ledger, {}),
        "delete the ledger": ("dynamodb:DeleteTable", ledger, {}),
        "read the stream": ("dynamodb:GetRecords", ledger.replace(".Arn>", ".StreamArn>"), {}),
        "read cursors": ("dynamodb:Query", projections, {}),
        "move cursors": ("dynamodb:PutItem", projections, {"dynamodb:LeadingKeys": "GROUP#summariser"}),
        "keep differences": ("dynamodb:PutItem", projections, {"dynamodb:LeadingKeys": "DIFFERENCES"}),
        "describe a package": ("sagemaker:DescribeModelPackage", PACKAGE, {}),
        "write the registry": ("sagemaker:UpdateModelPackage", PACKAGE, {}),
        "list packages": ("sagemaker:ListModelPackages", "*", {}),
        "describe a run": (
            "sagemaker:DescribeTransformJob",
            f"arn:<AWS::Partition>:sagemaker:{HERE}:transform-job/promotion-r1",
            {},
        ),
        "describe others' jobs": (
            "sagemaker:DescribeTransformJob",
            f"arn:<AWS::Partition>:sagemaker:{HERE}:transform-job/x",
            {},
        ),
        "delete a package": ("sagemaker:DeleteModelPackage", PACKAGE, {}),
        "become the registry role": ("sts:AssumeRole", registry, {}),
        "read what is live": ("ssm:GetParameter", LIVE, {}),
        "write what is live": ("ssm:PutParameter", LIVE, {}),
        "delete what is live": ("ssm:DeleteParameter", LIVE, {}),
        "read others' parameters": ("ssm:GetParameter", ELSEWHERE, {}),
        "write others' parameters": ("ssm:PutParameter", ELSEWHERE, {}),
        "sign": ("kms:Sign", key, {}),
        "read the public key": ("kms:GetPublicKey", key, {}),
        "delete the key": ("kms:ScheduleKeyDeletion", key, {}),
        "read link keys": ("secretsmanager:GetSecretValue", links, {}),
        "read form keys": ("secretsmanager:GetSecretValue", forms, {}),
        "read sign-in keys": ("secretsmanager:GetSecretValue", sign_ins, {}),
        "make a session": ("kms:Sign", session_key, {}),
        "check a session": ("kms:GetPublicKey", session_key, {}),
        "read the client secret": ("secretsmanager:GetSecretValue", identity, {}),
        "change link keys": ("secretsmanager:PutSecretValue", links, {}),
        "send mail": ("ses:SendEmail", SENDER, FROM_US),
        "raise an alarm": ("sns:Publish", f"<{template.the('AWS::SNS::Topic', 'Alarms')[0]}>", {}),
        "send mail as somebody else": ("ses:SendEmail", SENDER, {"ses:FromAddress": "ceo@example.com"}),
        "announce": ("events:PutEvents", bus, {"events:source": names.EVENT_SOURCE}),
        "report a run": ("events:PutEvents", bus, {"events:source": names.INFERENCE_SOURCE}),
        "wake": ("sqs:SendMessage", wake, {}),
        "be woken": ("sqs:ReceiveMessage", wake, {}),
        "send decide an event": ("lambda:InvokeFunction", decide, {}),
        "send operate an event": ("lambda:InvokeFunction", operate, {}),
        "send sign_in an event": ("lambda:InvokeFunction", sign_in, {}),
        "send web an event": ("lambda:InvokeFunction", web, {}),
        "say what happened": ("lambda:InvokeFunction", record, {}),
        "register again": ("sqs:SendMessage", registrations, {}),
        "take a registration": ("sqs:ReceiveMessage", registrations, {}),
        "wait": ("sqs:SendMessage", later, {}),
        "take what has waited": ("sqs:ReceiveMessage", later, {}),
        "remove mail that waited": ("dynamodb:DeleteItem", projections, {}),
        "resolve an image": (
            "ecr:BatchGetImage",
            "arn:<AWS::Partition>:ecr:<AWS::Region>:763104351884:repository/hf",
            {},
        ),
        "read artifacts": ("s3:GetObject", ARTIFACT, {}),
        "read registered metrics": ("s3:GetObject", ARTIFACT.replace("model.tar.gz", "metrics.json"), {}),
        "write artifacts": ("s3:PutObject", ARTIFACT, {}),
        "read evidence": ("s3:GetObject", f"{evidence}/summaries/dev/run/metrics.json", {}),
        "write a run's context": ("s3:PutObject", f"{evidence}/summaries/dev/run/context/gates.json", {}),
        "make a copy": ("s3:PutObject", f"{evidence}/{names.COPIES}/0a/model.tar.gz", {}),
        "keep a report": ("s3:PutObject", f"{evidence}/summaries/dev/report-dev-v1/score/metrics.json", {}),
        "write a run's score": ("s3:PutObject", f"{evidence}/summaries/dev/dev-v1-260101/score/metrics.json", {}),
        "write evidence": ("s3:PutObject", f"{evidence}/summaries/dev/run/metrics.json", {}),
        "start a job that hashes": ("sagemaker:CreateProcessingJob", f"{jobs}/{names.HASH_JOBS}summaries-v3-0-1", {}),
        "start another job": ("sagemaker:CreateProcessingJob", f"{jobs}/promotion-prod-v3-score", {}),
        "say what to hash": ("s3:PutObject", f"{evidence}/{names.HASHES}/0a-1.plan.json", {}),
        "read what was hashed": ("s3:GetObject", f"{evidence}/{names.HASHES}/0a-1.json", {}),
        "say what was hashed": ("s3:PutObject", f"{evidence}/{names.HASHES}/0a-1.json", {}),
        "run as what hashes": ("iam:PassRole", hashing, {"iam:PassedToService": "sagemaker.amazonaws.com"}),
        "keep a manifest": ("s3:PutObject", f"{evidence}/{names.MANIFESTS}/ab.json", {}),
        "attest": ("s3:PutObject", f"{evidence}/{names.ATTESTATIONS}/summaries.v1/0000000009-prod.json", {}),
        "fold runs": ("s3:PutObject", f"{evidence}/{names.FOLDED_RUNS}/summaries.v1/0000000009-dev.json", {}),
        "read folded runs": ("s3:GetObject", f"{evidence}/{names.FOLDED_RUNS}/summaries.v1/0000000009-dev.json", {}),
        "archive a history": ("s3:PutObject", f"{evidence}/{names.ARCHIVES}/summaries.v1/0000000009-ab.json", {}),
        "read an archive": ("s3:GetObject", f"{evidence}/{names.ARCHIVES}/summaries.v1/0000000009-ab.json", {}),
        "keep a checkpoint": ("s3:PutObject", f"{evidence}/{names.CHECKPOINTS}/summaries.json", {}),
        "delete a page": ("ssm:DeleteParameter", LIVE.replace("/prod/live", "/versions/1/history/0001"), {}),
        "delete a version": ("ssm:DeleteParameter", LIVE.replace("/prod/live", "/versions/1"), {}),
        "write anchors": ("s3:PutObject", f"{anchors}/2026/11/20.json", {}),
        "delete anchors": ("s3:DeleteObject", f"{anchors}/2026/11/20.json", {}),
        "lift an object lock": ("s3:BypassGovernanceRetention", f"{anchors}/2026/11/20.json", {}),
        "read others' objects": ("s3:GetObject", "arn:<AWS::Partition>:s3:::payroll/2026.csv", {}),
        "make roles": ("iam:CreateRole", "arn:<AWS::Partition>:iam::<AWS::AccountId>:role/x", {}),
    }


MAY = {
    "on_model_registered": {
        "take a registration",
        "describe a package",
        "resolve an image",
        "read the ledger",
        "read artifacts",
        "read registered metrics",
        "say what happened",
        "start a job that hashes",
        "say what to hash",
        "read what was hashed",
        "run as what hashes",
        "keep a manifest",
    },
    "on_approval_changed": {"describe a package", "say what happened", "register again"},
    "decide": {
        "read the ledger",
        "append to the ledger",
        "change the ledger's heads",
        "sign",
        "describe a package",
        "read registered metrics",
        "read link keys",
        "read form keys",
        "check a session",
    },
    "operate": {
        "read the ledger",
        "append to the ledger",
        "change the ledger's heads",
        "sign",
        "keep a report",
        "register again",
    },
    "record": {"read the ledger", "append to the ledger", "change the ledger's heads", "sign"},
    "sign_in": {
        "make a session",
        "check a session",
        "read sign-in keys",
        "read the client secret",
    },
    "web": {
        "read the ledger",
        "read states by one call",
        "read cursors",
        "describe a package",
        "read link keys",
        "read form keys",
        "check a session",
        "read registered metrics",
        "read evidence",
        "read what was hashed",
        "read folded runs",
        "read an archive",
    },
    "on_ledger_appended": {"read the stream", "wake", "take what has waited"},
    "on_projection_due": {
        "be woken",
        "wait",
        "remove mail that waited",
        "read the ledger",
        "read cursors",
        "move cursors",
        "keep differences",
        "become the registry role",
        "read what is live",
        "write what is live",
        "sign",
        "announce",
        "raise an alarm",
        "send mail",
        "read evidence",
        "read what was hashed",
        "read link keys",
        "attest",
        "fold runs",
        "archive a history",
        "read folded runs",
        "read an archive",
        "delete a page",
        "read the public key",
    },
    "sweep": {"list packages", "describe a package", "read the ledger", "say what happened", "register again"},
    "prepare_inference": {
        "read what is live",
        "read the public key",
        "read artifacts",
        "read registered metrics",
        "read the ledger",
        "write a run's context",
        "make a copy",
    },
    "on_inference_completed": {
        "read evidence",
        "read what was hashed",
        "read folded runs",
        "read an archive",
        "read artifacts",
        "read registered metrics",
        "describe a run",
        "say what happened",
    },
    # Without monitors, retraining and channels in the configuration: tests/infra/test_aftermath.py has them.
    "on_monitoring_completed": {"say what happened"},
    "on_drift_detected": {"say what happened"},
    "on_event_published": {"read the ledger", "read link keys"},
    "verify": {
        "read the ledger",
        "read what is live",
        "read the public key",
        "list packages",
        "describe a package",
        "write anchors",
        "read folded runs",
        "read an archive",
        "keep a checkpoint",
        "read cursors",
        "keep differences",
    },
}
