"""Permissions: allowed calls by simulation, conditions included, and everything else refused."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cdk_nag import WILDCARDS
from infra.functions import SIZES
from infra.storage import Store
from promotion import names
from tests.infra.allowed_calls import ARTIFACT, HERE, MAY, PACKAGE, calls
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, actions, every_statement, resources, synthesize


@pytest.mark.parametrize("module", SIZES)
def test_a_function_may_do_its_work_and_nothing_else(template: Template, module: str) -> None:
    statements = template.statements(template.role_of(module))
    granted = {name for name, call in calls(template).items() if allowed(statements, *call)}
    assert granted == MAY[module]


def test_copies_are_written_by_who_makes_them_and_never_one_over_another(template: Template) -> None:
    _, policy = template.the("AWS::S3::BucketPolicy", "StoreEvidencePolicy")
    denied = {s["Sid"]: s for s in policy["PolicyDocument"]["Statement"] if str(s.get("Sid", "")).startswith("Copies")}
    assert {s["Effect"] for s in denied.values()} == {"Deny"}
    for statement in denied.values():
        assert set(actions(statement)) == {"s3:PutObject", "s3:ReplicateObject"}
        assert statement["Resource"].endswith(f"/{names.COPIES}/*")
        assert statement["Principal"] == {"AWS": "*"}
    makers = denied["CopiesAreOurs"]["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
    assert makers == [f"<{template.role_of('prepare_inference')}.Arn>"]
    assert denied["CopiesStay"]["Condition"] == {
        "Null": {"s3:if-none-match": "true"},
        "Bool": {"s3:ObjectCreationOperation": "true"},
    }


def test_an_archived_history_is_never_written_over(template: Template) -> None:
    _, policy = template.the("AWS::S3::BucketPolicy", "StoreEvidencePolicy")
    [statement] = [s for s in policy["PolicyDocument"]["Statement"] if s.get("Sid") == "ArchivesStay"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", {"AWS": "*"})
    assert set(actions(statement)) == {"s3:PutObject", "s3:ReplicateObject"}
    assert statement["Resource"].endswith(f"/{names.ARCHIVES}/*")
    assert statement["Condition"] == {
        "Null": {"s3:if-none-match": "true"},
        "Bool": {"s3:ObjectCreationOperation": "true"},
    }


def test_the_ledger_is_appended_to_by_three_functions_alone(template: Template) -> None:
    ledger = f"<{template.the('AWS::DynamoDB::Table', 'StoreLedger')[0]}.Arn>"
    writers = {
        role
        for role in template.of_type("AWS::IAM::Role")
        if any(
            allowed(template.statements(role), f"dynamodb:{action}", ledger)
            for action in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate")
        )
    }
    assert writers == {template.role_of(module) for module in ("decide", "operate", "record")}


@pytest.mark.parametrize(
    ("context", "allowed_so"),
    [
        ({"sagemaker:CustomerMetadataProperties/prod": names.APPROVED}, True),
        ({"sagemaker:CustomerMetadataProperties/prod": "Splendid"}, False),
        ({"sagemaker:ModelApprovalStatus": names.REJECTED}, True),
        ({"sagemaker:ModelApprovalStatus": "Splendid"}, False),
        ({"sagemaker:ModelLifeCycle:Stage": "uat"}, True),
        ({"sagemaker:ModelLifeCycle:Stage": "moon"}, False),
        (
            {
                "sagemaker:ModelApprovalStatus": names.APPROVED,
                "sagemaker:CustomerMetadataProperties/dev": "nonsense",
            },
            False,
        ),
    ],
)
def test_the_registry_takes_only_statuses_and_stages_that_exist(
    template: Template, context: dict[str, str], allowed_so: bool
) -> None:
    role, _ = template.the("AWS::IAM::Role", "RegistryRole")
    assert allowed(template.statements(role), "sagemaker:UpdateModelPackage", PACKAGE, context) is allowed_so


def test_the_registry_role_opens_to_the_projector_with_the_approvers_name(template: Template) -> None:
    _, role = template.the("AWS::IAM::Role", "RegistryRole")
    trusted: dict[str, set[str]] = {}
    for statement in role["AssumeRolePolicyDocument"]["Statement"]:
        for action in actions(statement):
            trusted.setdefault(action, set()).add(statement["Principal"]["AWS"])
    projector = f"<{template.role_of('on_projection_due')}.Arn>"
    assert trusted == {"sts:AssumeRole": {projector}, "sts:SetSourceIdentity": {projector}}


# The identity policy of somebody who may put any event anywhere.
ANY_EVENT: list[dict[str, Any]] = [{"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}]


def bus_policies(template: Template) -> list[dict[str, Any]]:
    return [each["Statement"] for each in template.of_type("AWS::Events::EventBusPolicy").values()]


def test_the_bus_takes_events_from_projector_and_machines_alone(template: Template) -> None:
    policies = bus_policies(template)
    bus = policies[0]["Resource"]

    def may_put(principal: str) -> bool:
        context = {"aws:PrincipalArn": principal, "events:source": names.INFERENCE_SOURCE}
        return allowed([*ANY_EVENT, *policies], "events:PutEvents", bus, context)

    assert may_put(f"<{template.role_of('on_projection_due')}.Arn>")
    for environment in ("Dev", "Test", "Uat", "Prod"):
        assert may_put(f"<{template.the('AWS::IAM::Role', f'Inference{environment}Role')[0]}.Arn>")
    assert not may_put(f"<{template.role_of('web')}.Arn>")
    assert not may_put("arn:aws:iam::123456789012:role/Admin")


@pytest.mark.parametrize(
    ("caller", "source", "open_"),
    [
        ("evaluation-churn", names.REPORT_SOURCE, True),
        ("evaluation-churn", names.INFERENCE_SOURCE, False),
        ("evaluation-churn", names.EVENT_SOURCE, False),
        ("another", names.REPORT_SOURCE, False),
    ],
)
def test_reporters_put_events_under_their_own_source_alone(
    template: Template, caller: str, source: str, open_: bool
) -> None:
    policies = bus_policies(template)
    context = {"aws:PrincipalArn": f"arn:aws:iam::555555555555:role/{caller}", "events:source": source}
    bus = policies[0]["Resource"]
    assert allowed(policies, "events:PutEvents", bus, context) is open_
    assert allowed([*ANY_EVENT, *policies], "events:PutEvents", bus, context) is open_


def test_the_service_is_started_by_reports_too(template: Template) -> None:
    _, rule = template.the("AWS::Events::Rule", "WiringOnInferenceCompleted")
    assert rule["EventPattern"]["source"] == [names.INFERENCE_SOURCE, names.REPORT_SOURCE]


@pytest.mark.parametrize("environment", ["Dev", "Test", "Uat", "Prod"])
def test_an_inference_run_touches_only_its_own_jobs_and_its_own_evidence(template: Template, environment: str) -> None:
    machine = template.statements(template.the("AWS::IAM::Role", f"Inference{environment}Role")[0])
    execution_name, _ = template.the("AWS::IAM::Role", f"Inference{environment}ExecutionRole")
    execution = template.statements(execution_name)
    evidence = f"<{template.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    own, foreign = environment.lower(), "elsewhere"
    model = f"arn:<AWS::Partition>:sagemaker:{HERE}:model"
    assert allowed(machine, "sagemaker:DeleteModel", f"{model}/promotion-summaries-dev-1")
    assert not allowed(machine, "sagemaker:DeleteModel", f"{model}/somebody-elses")
    to_sagemaker = {"iam:PassedToService": "sagemaker.amazonaws.com"}
    assert allowed(machine, "iam:PassRole", f"<{execution_name}.Arn>", to_sagemaker)
    assert not allowed(machine, "iam:PassRole", f"<{execution_name}.Arn>", {"iam:PassedToService": "ec2.amazonaws.com"})
    assert not allowed(machine, "iam:PassRole", "arn:aws:iam::123456789012:role/Admin", to_sagemaker)
    assert allowed(execution, "s3:PutObject", f"{evidence}/summaries/{own}/run/score/metrics.json")
    assert not allowed(execution, "s3:PutObject", f"{evidence}/summaries/{foreign}/run/score/metrics.json")
    # Whatever a group is called, what a run writes is not taken for what hashing found.
    assert not allowed(execution, "s3:PutObject", f"{evidence}/{names.HASHES}/0a1b-1.json")
    assert not allowed(execution, "s3:PutObject", ARTIFACT)
    assert not allowed(execution, "s3:DeleteObject", f"{evidence}/summaries/{own}/run/score/metrics.json")


@pytest.mark.parametrize("environment", ["Dev", "Test", "Uat", "Prod"])
def test_a_run_writes_nothing_below_a_folder_of_its_environments_name_in_anothers(
    template: Template, environment: str
) -> None:
    """It may write `*/dev/*`, and that star matches slashes: S3 itself has to deny the rest."""
    name, _ = template.the("AWS::IAM::Role", f"Inference{environment}ExecutionRole")
    bucket = f"<{template.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    _, policy = template.the("AWS::S3::BucketPolicy", "StoreEvidencePolicy")
    runs = [each for each in policy["PolicyDocument"]["Statement"] if str(each.get("Sid", "")).startswith("RunsOf")]
    statements = [*template.statements(name), *runs]
    who, own = {"aws:PrincipalArn": f"<{name}.Arn>"}, environment.lower()
    for other in {"dev", "test", "uat", "prod"} - {own}:
        run = f"{bucket}/summaries/{other}/{other}-v1-260101"
        for place in (f"{run}/transform/{own}/more.jsonl.out", f"{run}/{own}/score/metrics.json", f"{run}-{own}/x"):
            assert not allowed(statements, "s3:PutObject", place, who)
        assert not allowed(statements, "s3:PutObject", f"{bucket}/summaries/{other}/{own}/score/metrics.json", who)
        # Inputs in folders that are called as an environment is come out again below the run's own.
        assert allowed(statements, "s3:PutObject", f"{bucket}/summaries/{own}/run/transform/{other}/x.out", who)
        assert allowed(statements, "s3:PutObject", f"{bucket}/{other}/{own}/run/score/metrics.json", who)


def test_a_models_role_puts_no_metrics_of_this_services_alarms(template: Template) -> None:
    tried = 0
    for name in template.of_type("AWS::IAM::Role"):
        for namespace, may in {
            "/aws/sagemaker/TransformJobs": True,
            names.METRICS_NAMESPACE: False,
            "AWS/SES": False,
        }.items():
            statements = template.statements(name)
            if any("cloudwatch:PutMetricData" in actions(each) for each in statements):
                told = allowed(statements, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})
                assert told == may, (name, namespace)
                tried += 1
    assert tried >= 15, "the roles of four environments and the one that hashes"


def test_environments_that_share_a_role_keep_nothing_from_each_other() -> None:
    said: list[Any] = []
    evidence = SimpleNamespace(arn_for_objects="arn:aws:s3:::evidence/{}".format)
    store = SimpleNamespace(evidence=evidence, let_into_evidence=said.append)
    arn = "arn:aws:iam::123456789012:role/{}".format
    Store.guard_runs(store, {"dev": arn("own"), "test": arn("own"), "prod": arn("prod")})  # type: ignore[arg-type]
    assert [each.to_json()["Resource"] for each in said] == [
        "arn:aws:s3:::evidence/*/prod/*dev/*",
        "arn:aws:s3:::evidence/*/prod/*test/*",
        ["arn:aws:s3:::evidence/*/dev/*prod/*", "arn:aws:s3:::evidence/*/test/*prod/*"],
    ]


def test_a_hashing_job_reads_artifacts_and_writes_only_digests(template: Template) -> None:
    role = template.statements(template.the("AWS::IAM::Role", "HashingRole")[0])
    evidence = f"<{template.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    assert allowed(role, "s3:GetObjectVersion", ARTIFACT)
    assert allowed(role, "s3:PutObject", f"{evidence}/{names.HASHES}/0a1b-1.json")
    assert not allowed(role, "s3:PutObject", ARTIFACT)
    assert not allowed(role, "s3:GetObject", "arn:<AWS::Partition>:s3:::payroll/2026.csv")
    assert not allowed(role, "s3:PutObject", f"{evidence}/summaries/dev/run/score/metrics.json")


def test_services_assume_roles_only_on_behalf_of_this_account(template: Template) -> None:
    for name, role in template.of_type("AWS::IAM::Role").items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            service = statement["Principal"].get("Service", "")
            if service in ("sagemaker.amazonaws.com", "states.amazonaws.com", "codebuild.amazonaws.com"):
                assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "<AWS::AccountId>", name


def test_no_action_has_a_wildcard_and_no_policy_is_managed(template: Template) -> None:
    for name, statement in every_statement(template):
        assert not [action for action in actions(statement) if "*" in action], name
        assert "NotAction" not in statement, name
        assert "NotResource" not in statement, name
    for name, role in template.of_type("AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in role, name


def test_a_bare_star_stands_only_where_aws_knows_no_resource(template: Template) -> None:
    without_resource = {
        "sagemaker:ListModelPackages",
        "sagemaker:ListModelPackageGroups",
        "ecr:GetAuthorizationToken",
        "cloudwatch:PutMetricData",
        # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
    }
    for name, statement in every_statement(template):
        if "*" in resources(statement):
            assert set(actions(statement)) <= without_resource, name


def test_every_wildcard_has_a_reason(template: Template) -> None:
    for name, statement in every_statement(template):
        for resource in resources(statement):
            if "*" in resource:
                assert any(re.fullmatch(pattern, resource) for pattern in WILDCARDS), f"{name}: {resource}"


def test_a_key_of_before_signs_the_change_and_another_key_signs_from_then_on(tmp_path: Path) -> None:
    old = "arn:aws:kms:us-east-1:123456789012:key/11111111-1111-1111-1111-111111111111"
    new = "arn:aws:kms:us-east-1:123456789012:key/22222222-2222-2222-2222-222222222222"
    signing = (
        f'\n[advanced.signing]\nkey = "{new}"\n[[advanced.signing.former]]\nkey_id = "{old}"\nuntil = 2026-12-01T00:00:00Z\n'
        'public_key = """-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"""\n'
    )
    config = tmp_path / "promotion.toml"
    config.write_text(
        (Path(__file__).parent / "promotion.toml").read_text(encoding="utf-8") + signing, encoding="utf-8"
    )
    made = synthesize(config, tmp_path / "out")
    for module in ("decide", "operate", "record"):
        statements = made.statements(made.role_of(module))
        assert allowed(statements, "kms:Sign", old)
        assert allowed(statements, "kms:Sign", new)
        assert made.function(module)[1]["Environment"]["Variables"][names.SIGNING_KEY_ARN] == new
    assert not allowed(made.statements(made.role_of("on_projection_due")), "kms:Sign", old)
    for module in ("on_model_registered", "sweep"):
        # A key of yours may be older than the service, and what was registered in between is none of its business.
        own = made.function(module)[1]["Environment"]["Variables"][names.OWN_KEY_ARN]
        assert own == "<StoreSigningKey0A1284B9.Arn>"
        assert not allowed(made.statements(made.role_of(module)), "kms:DescribeKey", new)
    assert made.the("AWS::KMS::Key", "StoreSigningKey")[0] == "StoreSigningKey0A1284B9", "the stack's own stays"
