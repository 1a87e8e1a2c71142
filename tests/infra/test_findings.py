"""Findings of AWS's documentation in the templates: errors of a first deployment, or failures without notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outside.judges.requests import of_variant
from outside.judges.variants import KEY, VARIANTS
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, actions, every_statement, synthesize

HERE = "<AWS::Region>:<AWS::AccountId>"
S3 = {"kms:ViaService": "s3.<AWS::Region>.<AWS::URLSuffix>"}
READERS_OF_EVIDENCE = ("on_inference_completed", "web", "on_projection_due")
READERS_OF_ARTIFACTS = ("on_model_registered", "prepare_inference")


def variant(name: str, folder: Path) -> Template:
    (folder / "promotion.toml").write_text(VARIANTS[name](), encoding="utf-8")
    return synthesize(folder / "promotion.toml", folder / "out")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A network, keys, an execution role and inputs of one's own."""
    return variant("network and keys", tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The least that can be deployed, where SES knows the sender's domain already."""
    return variant("first", tmp_path_factory.mktemp("first"))


def test_groups_are_granted_as_given_and_in_lower_case(tmp_path: Path) -> None:
    template = variant("capitals", tmp_path)
    for module in ("on_model_registered", "on_approval_changed"):
        statements = template.statements(template.role_of(module))
        for name in ("Fraud-1", "fraud-1", "ChurnModel", "churnmodel"):
            package = f"arn:<AWS::Partition>:sagemaker:{HERE}:model-package/{name}/1"
            assert allowed(statements, "sagemaker:DescribeModelPackage", package), (module, name)
        other = f"arn:<AWS::Partition>:sagemaker:{HERE}:model-package/other/1"
        assert not allowed(statements, "sagemaker:DescribeModelPackage", other)


def test_an_identity_that_is_there_is_not_made(first: Template, template: Template) -> None:
    assert first.of_type("AWS::SES::EmailIdentity") == {}
    assert len(template.of_type("AWS::SES::EmailIdentity")) == 1
    assert "SesRecords" not in first.document["Outputs"]


@pytest.mark.parametrize("module", READERS_OF_EVIDENCE)
def test_readers_of_evidence_may_decrypt_it(own: Template, template: Template, module: str) -> None:
    assert allowed(own.statements(own.role_of(module)), "kms:Decrypt", KEY, S3)
    assert not allowed(own.statements(own.role_of(module)), "kms:Decrypt", KEY), "through S3 alone"
    assert not allowed(template.statements(template.role_of(module)), "kms:Decrypt", KEY, S3)


@pytest.mark.parametrize("module", READERS_OF_EVIDENCE)
def test_readers_of_evidence_may_read_manual_runs(own: Template, module: str) -> None:
    statements = own.statements(own.role_of(module))
    bucket = "arn:<AWS::Partition>:s3:::promotion-runs"
    assert allowed(statements, "s3:GetObject", f"{bucket}/runs/1/score/metrics.json")
    assert not allowed(statements, "s3:GetObject", f"{bucket}/runs/1/input.jsonl")
    assert allowed(statements, "s3:ListBucket", bucket)


@pytest.mark.parametrize("module", READERS_OF_ARTIFACTS)
def test_readers_of_artifacts_may_decrypt_them(own: Template, module: str) -> None:
    assert allowed(own.statements(own.role_of(module)), "kms:Decrypt", KEY, S3)


def test_inputs_may_lie_in_any_bucket_that_the_settings_name(own: Template) -> None:
    lake = "arn:<AWS::Partition>:s3:::data-lake"
    assert allowed(own.statements(own.role_of("prepare_inference")), "s3:ListBucket", lake)
    runs = own.statements(own.the("AWS::IAM::Role", "InferenceProdExecutionRole")[0])
    assert allowed(runs, "s3:GetObject", f"{lake}/summaries.jsonl")
    assert not allowed(runs, "s3:PutObject", f"{lake}/summaries.jsonl")
    assert allowed(runs, "kms:Decrypt", KEY, S3)


def test_a_shared_subnet_is_its_owners(own: Template) -> None:
    runs = own.statements(own.the("AWS::IAM::Role", "InferenceProdExecutionRole")[0])
    for account in ("<AWS::AccountId>", "999999999999"):
        place = f"arn:<AWS::Partition>:ec2:<AWS::Region>:{account}"
        assert allowed(runs, "ec2:CreateNetworkInterface", f"{place}:subnet/subnet-1")
        assert allowed(runs, "ec2:CreateNetworkInterface", f"{place}:security-group/sg-1")
        assert not allowed(runs, "ec2:CreateNetworkInterface", f"{place}:subnet/subnet-2")


def test_another_partition_is_nowhere_called_aws(tmp_path: Path) -> None:
    (tmp_path / "promotion.toml").write_text(VARIANTS["china"](), encoding="utf-8")
    synthesize(tmp_path / "promotion.toml", tmp_path / "out")
    for file in (tmp_path / "out").glob("*.template.json"):
        assert "arn:aws:" not in file.read_text(encoding="utf-8"), file.name


def test_nothing_is_granted_that_no_function_calls(template: Template, own: Template) -> None:
    granted = {action for each in (template, own) for _, s in every_statement(each) for action in actions(s)}
    assert not granted & {"s3:GetObjectAttributes", "ssm:GetParameters"}


def test_a_machine_names_no_volume_key_that_sagemaker_refuses(own: Template) -> None:
    machines = json.dumps(own.of_type("AWS::StepFunctions::StateMachine"))
    assert "VolumeKmsKeyId" not in machines, "prepare_inference decides it by the instance type"


def test_requests_name_the_ami_whose_driver_runs_the_image_and_no_key_that_is_refused() -> None:
    sent = {call[1]: call[2] for _, call in of_variant(VARIANTS["endpoints"]())}
    assert sent["CreateTransformJob"]["TransformResources"] == {
        "InstanceType": "ml.g5.xlarge",
        "InstanceCount": 1,
        "TransformAmiVersion": "al2-ami-sagemaker-batch-gpu-535",
    }
    [variant] = sent["CreateEndpointConfig"]["ProductionVariants"]
    assert (variant["InstanceType"], variant["InferenceAmiVersion"]) == (
        "ml.g5.xlarge",
        "al2023-ami-sagemaker-inference-gpu-4-1",
    )
    keyed = {call[1]: call[2] for _, call in of_variant(VARIANTS["network and keys"]())}
    assert "VolumeKmsKeyId" not in keyed["CreateTransformJob"]["TransformResources"], "g5 has local storage"
    assert keyed["CreateProcessingJob"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == KEY, "m5 has none"
