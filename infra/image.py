"""The inference image: CodeBuild builds and pushes it during the deployment, so that no Docker is needed."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aws_cdk import CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from infra.cdk_nag import acknowledge
from infra.permissions import allow

SOURCES = ("inference", "promotion")
# Without an answer about the build, CloudFormation would wait for an hour.
_LONGEST = Duration.minutes(45)
_QUEUED = Duration.minutes(10)

# CloudFormation waits for this answer. The machines use the digest in it, so that moving a tag has no effect.
_ANSWER = r"""
digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$IMAGE" 2>/dev/null | cut -d@ -f2)
if [ "$CODEBUILD_BUILD_SUCCEEDING" = 1 ] && [ -n "$digest" ]; then status=SUCCESS; else status=FAILED; fi
printf '{"Status":"%s","Reason":"log: %s","PhysicalResourceId":"image",' "$status" "$CODEBUILD_LOG_PATH" > answer.json
printf '"StackId":"%s","RequestId":"%s","LogicalResourceId":"%s",' "$STACK_ID" "$REQUEST_ID" "$LOGICAL_ID" >> answer.json
base=$(docker inspect --format '{{index .Config.Labels "org.opencontainers.image.base.name"}}' "$IMAGE" 2>/dev/null)
printf '"Data":{"Uri":"%s@%s","Base":"%s"}}' "$REPOSITORY" "$digest" "$base" >> answer.json
curl --silent --show-error --fail --retry 5 --upload-file answer.json --header 'Content-Type:' "$RESPONSE_URL"
"""


class InferenceImage(Construct):
    """Repository and build of the image; `uri` is its address by digest, `base` that of its base image."""

    def __init__(self, scope: Construct, name: str, *, root: Path, base: str | None = None) -> None:
        super().__init__(scope, name)
        stack = Stack.of(self)
        with staged(root) as context:
            source = assets.Asset(self, "Source", path=str(context))
        # Retained, because live versions name their image by digest.
        self.repository = ecr.Repository(
            self,
            "Repository",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            encryption=ecr.RepositoryEncryption.AES_256,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        log = logs.LogGroup(
            self, "BuildLog", retention=logs.RetentionDays.ONE_YEAR, removal_policy=RemovalPolicy.DESTROY
        )
        role = iam.Role(
            self,
            "BuildRole",
            assumed_by=iam.ServicePrincipal(
                "codebuild.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
        )
        for statement in (
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log.log_group_arn]),
            allow(["ecr:GetAuthorizationToken"], ["*"]),
            allow(
                [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:InitiateLayerUpload",
                    "ecr:UploadLayerPart",
                    "ecr:CompleteLayerUpload",
                    "ecr:PutImage",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                ],
                [self.repository.repository_arn],
            ),
            allow(["s3:GetObject", "s3:GetObjectVersion"], [source.bucket.arn_for_objects(source.s3_object_key)]),
        ):
            role.add_to_policy(statement)
        base = base or default_base(root)
        tag = hashlib.sha256(f"{source.asset_hash}|{base}".encode()).hexdigest()[:16]
        image = f"{self.repository.repository_uri}:{tag}"
        project = codebuild.CfnProject(
            self,
            "Build",
            description="Builds the inference image and tells CloudFormation its digest",
            service_role=role.role_arn,
            artifacts=codebuild.CfnProject.ArtifactsProperty(type="NO_ARTIFACTS"),
            encryption_key=f"arn:{stack.partition}:kms:{stack.region}:{stack.account}:alias/aws/s3",
            timeout_in_minutes=int(_LONGEST.to_minutes()),
            queued_timeout_in_minutes=int(_QUEUED.to_minutes()),
            environment=codebuild.CfnProject.EnvironmentProperty(
                type="LINUX_CONTAINER",
                compute_type="BUILD_GENERAL1_LARGE",
                image="aws/codebuild/amazonlinux-x86_64-standard:5.0",
                privileged_mode=True,
                environment_variables=[
                    codebuild.CfnProject.EnvironmentVariableProperty(name=key, value=value)
                    for key, value in (
                        ("IMAGE", image),
                        ("BASE", base),
                        ("REPOSITORY", self.repository.repository_uri),
                        ("REGISTRY", f"{stack.account}.dkr.ecr.{stack.region}.{stack.url_suffix}"),
                    )
                ],
            ),
            logs_config=codebuild.CfnProject.LogsConfigProperty(
                cloud_watch_logs=codebuild.CfnProject.CloudWatchLogsConfigProperty(
                    status="ENABLED", group_name=log.log_group_name
                )
            ),
            source=codebuild.CfnProject.SourceProperty(
                type="S3",
                location=f"{source.s3_bucket_name}/{source.s3_object_key}",
                build_spec=stack.to_json_string(build_spec()),
            ),
        )
        # The role's policy is a separate resource; a build that starts before it would have no permission.
        project.node.add_dependency(role)
        starter = self._starter(project)
        ended = events.Rule(
            self,
            "BuildEnded",
            description="Answers CloudFormation for a build that could not: infra/start_build.py",
            event_pattern=events.EventPattern(
                source=["aws.codebuild"],
                detail_type=["CodeBuild Build State Change"],
                detail={
                    "project-name": [project.ref],
                    "build-status": ["FAILED", "FAULT", "STOPPED", "TIMED_OUT"],
                },
            ),
            targets=[targets.LambdaFunction(starter)],
        )
        built = CustomResource(
            self,
            "Image",
            service_token=starter.function_arn,
            resource_type="Custom::InferenceImage",
            service_timeout=Duration.hours(1),
            properties={"Project": project.ref, "Image": image},
        )
        built.node.add_dependency(ended)
        self.uri = built.get_att_string("Uri")
        self.base = built.get_att_string("Base")
        acknowledge(
            project,
            {"AwsSolutions-CB3": "Building an image with Docker needs it; the build sees the source and no secret."},
        )

    def _starter(self, project: codebuild.CfnProject) -> lambda_.Function:
        log = logs.LogGroup(
            self, "StarterLog", retention=logs.RetentionDays.ONE_YEAR, removal_policy=RemovalPolicy.DESTROY
        )
        role = iam.Role(self, "StarterRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        role.add_to_policy(allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log.log_group_arn]))
        role.add_to_policy(allow(["codebuild:StartBuild"], [project.attr_arn]))
        code = (Path(__file__).parent / "start_build.py").read_text(encoding="utf-8")
        starter = lambda_.Function(
            self,
            "Starter",
            description="infra/start_build.py",
            code=lambda_.Code.from_inline(code),
            handler="index.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            timeout=Duration.seconds(60),
            role=role,
            log_group=log,
        )
        acknowledge(starter, {"AwsSolutions-L1": "The Python of all other functions of the service."})
        return starter


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """Yield the build context: the Dockerfile and the packages that it copies, without files that git ignores.

    A second synth waits meanwhile, since it would remove the files under the first one.
    """
    context = root / "build" / "image"
    context.parent.mkdir(exist_ok=True)
    with context.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(context, ignore_errors=True)
        for source in SOURCES:
            shutil.copytree(root / source, context / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        yield context


def default_base(root: Path) -> str:
    """Return the Dockerfile's default base image."""
    text = (root / "inference" / "Dockerfile").read_text(encoding="utf-8")
    return next(line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("ARG BASE="))


def build_spec() -> dict[str, object]:
    """Return CodeBuild's commands: build and push the image, and answer CloudFormation."""
    login = 'aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"'
    # A tag can't be pushed twice, so an existing image with the tag of these sources is used. A base's tag may move
    # during the build, so its digest is resolved once, and stored as a label of the image.
    build = " ".join(
        (
            'docker pull "$IMAGE" || {',
            'docker pull "$BASE" && pinned=$(docker inspect --format "{{index .RepoDigests 0}}" "$BASE") &&',
            'docker build --build-arg BASE="$pinned" --label org.opencontainers.image.base.name="$pinned"',
            '-f inference/Dockerfile -t "$IMAGE" . && docker push "$IMAGE"; }',
        )
    )
    return {
        "version": "0.2",
        "phases": {
            "pre_build": {"commands": [login]},
            "build": {"commands": [build]},
            "post_build": {"commands": [_ANSWER.strip()]},
        },
    }
