"""Every role of the template, whoever made it, does what is written here and is refused all else that matters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.functions import SIZES
from tests.infra.allowed_calls import HERE, MAY, calls
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, run_app

CONFIG = Path(__file__).parent / "promotion.toml"
Call = tuple[str, str, dict[str, str]]
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}

# Names that are ours don't tell a run's jobs from those that hash.
MACHINE = {
    "prepare a run",
    "report a run",
    "run a job of ours",
    "describe a run",
    "start another job",
    "start a job that hashes",
}
# Roles by their logical ids, without the hash; functions are in tests/infra/allowed_calls.py.
OTHERS = {
    r"FunctionsOnLiveChangedRole": {
        "read the ledger",
        "read what is live",
        "read the public key",
        "read artifacts",
        "read registered metrics",
        "make a copy",
        "say what happened",
        "serve dev",
        "run as dev's models",
    },
    r"RegistryRole": {"describe a package", "write the registry"},
    r"HashingRole": {
        *(
            "read artifacts",
            "read registered metrics",
            "read what was hashed",
            "say what to hash",
            "say what was hashed",
            "log a job",
        ),
        "keep a manifest",
        "resolve an image",
    },
    r"InferenceDevExecutionRole": {
        "resolve an image",
        "read artifacts",
        "read registered metrics",
        "read evidence",
        "write evidence",
        "keep a report",
        "write a run's score",
        "write a run's context",
        "see dev's alarms",
        "log a job",
    },
    r"Inference(Test|Uat)ExecutionRole": {"resolve an image", "read artifacts", "read registered metrics", "log a job"},
    r"InferenceProdExecutionRole": {
        "resolve an image",
        "read artifacts",
        "read registered metrics",
        "write prod's evidence",
        "log a job",
    },
    r"InferenceDevRole": {*MACHINE, "run as dev's models"},
    r"Inference(Test|Uat|Prod)Role": MACHINE,
    # What EventBridge starts the machines as.
    r"InferenceDevMachineEventsRole": {"start dev's machine"},
    r"Inference(Test|Uat|Prod)MachineEventsRole": set[str](),
    # CodeBuild, and what CloudFormation starts it with.
    r"InferenceImageBuildRole": {"push an image"},
    r"InferenceImageStarterRole": {"build the image"},
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A deployment as it is, image included, with an endpoint in dev."""
    folder = tmp_path_factory.mktemp("full")
    endpoint = '\n[advanced.environments.dev.endpoint]\ninstance_type = "ml.g5.xlarge"\n'
    (folder / "promotion.toml").write_text(CONFIG.read_text(encoding="utf-8") + endpoint, encoding="utf-8")
    finished = run_app(folder / "promotion.toml", folder / "out", nag="false")
    assert finished.returncode == 0, finished.stderr
    return Template(folder / "out" / "promotion.template.json")


def more_calls(full: Template) -> dict[str, Call]:
    """Those of tests/infra/allowed_calls.py, and what only these roles could do."""
    evidence = f"<{full.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    machine, execution = (
        full.the(kind, name)[0]
        for kind, name in (
            ("AWS::StepFunctions::StateMachine", "InferenceDevMachine"),
            ("AWS::IAM::Role", "InferenceDevExecutionRole"),
        )
    )
    prepare = f"<{full.function('prepare_inference')[0]}.Arn>"
    repository = f"<{full.the('AWS::ECR::Repository', 'InferenceImageRepository')[0]}.Arn>"
    project = f"<{full.the('AWS::CodeBuild::Project', 'InferenceImageBuild')[0]}.Arn>"
    jobs = f"arn:<AWS::Partition>:sagemaker:{HERE}"
    return calls(full) | {
        "write prod's evidence": ("s3:PutObject", f"{evidence}/summaries/prod/run/score/metrics.json", {}),
        "prepare a run": ("lambda:InvokeFunction", prepare, {}),
        "run a job of ours": ("sagemaker:CreateTransformJob", f"{jobs}:transform-job/promotion-r1", {}),
        "run a job of others": ("sagemaker:CreateTransformJob", f"{jobs}:transform-job/theirs", {}),
        "train": ("sagemaker:CreateTrainingJob", f"{jobs}:training-job/promotion-r1", {}),
        "run as dev's models": ("iam:PassRole", f"<{execution}.Arn>", TO_SAGEMAKER),
        "run EC2 as dev's models": ("iam:PassRole", f"<{execution}.Arn>", {"iam:PassedToService": "ec2.amazonaws.com"}),
        "start dev's machine": ("states:StartExecution", f"<{machine}>", {}),
        "change dev's machine": ("states:UpdateStateMachine", f"<{machine}>", {}),
        "build the image": ("codebuild:StartBuild", project, {}),
        "change the build": ("codebuild:UpdateProject", project, {}),
        "push an image": ("ecr:PutImage", repository, {}),
        "delete an image": ("ecr:BatchDeleteImage", repository, {}),
        "open the repository": ("ecr:SetRepositoryPolicy", repository, {}),
        "serve dev": ("sagemaker:UpdateEndpoint", f"{jobs}:endpoint/promotion-dev-summaries", {}),
        "serve prod": ("sagemaker:UpdateEndpoint", f"{jobs}:endpoint/promotion-prod-summaries", {}),
        "see dev's alarms": (
            "cloudwatch:DescribeAlarms",
            f"arn:<AWS::Partition>:cloudwatch:{HERE}:alarm:promotion-dev-summaries-errors",
            {},
        ),
        "log a job": (
            "logs:PutLogEvents",
            f"arn:<AWS::Partition>:logs:{HERE}:log-group:/aws/sagemaker/x:log-stream:y",
            {},
        ),
        "change the stack": (
            "cloudformation:UpdateStack",
            f"arn:<AWS::Partition>:cloudformation:{HERE}:stack/promotion/1",
            {},
        ),
        "take on any role": ("sts:AssumeRole", "arn:<AWS::Partition>:iam::<AWS::AccountId>:role/Admin", {}),
    }


def test_every_role_does_its_work_and_nothing_else(full: Template) -> None:
    functions = {full.role_of(module): MAY[module] for module in SIZES if module in MAY}
    made, wrong = more_calls(full), {}
    for role in full.of_type("AWS::IAM::Role"):
        expected = functions.get(role)
        if expected is None:
            rows = [may for pattern, may in OTHERS.items() if re.fullmatch(pattern, role[:-8])]
            assert len(rows) == 1, f"{role} is in no row, or in several"
            (expected,) = rows
        granted = {name for name, call in made.items() if allowed(full.statements(role), *call)}
        if granted != expected:
            wrong[role] = {"more": granted - expected, "less": expected - granted}
    assert wrong == {}, "\n".join(f"{role}: {what}" for role, what in sorted(wrong.items()))


def test_every_row_is_of_a_role_that_is_there(full: Template) -> None:
    roles = [role[:-8] for role in full.of_type("AWS::IAM::Role")]
    assert [pattern for pattern in OTHERS if not any(re.fullmatch(pattern, role) for role in roles)] == []
