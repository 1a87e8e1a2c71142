"""The inference image: what is built, who may, and that CloudFormation always gets its answer."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_cdk import App, Environment
from aws_cdk.aws_codebuild import CfnProject
from aws_cdk.aws_ecr import CfnRepository

from infra import image, start_build
from infra.stack import PromotionStack
from promotion import names
from promotion.config import loading
from tests.infra.accounts import ACCOUNTS, OTHERS, SERVICE, lets_in, role
from tests.infra.accounts import CONFIG as ACCOUNTS_CONFIG
from tests.infra.synthesized import ROOT, run_app
from tests.infra.test_bundle import pinned

CONFIG = Path(__file__).parent / "promotion.toml"
PINNED_BASE = "public.ecr.aws/deep-learning-containers/base@sha256:" + "0" * 64
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Resources of a deployment as it is, image included, checked by cdk-nag."""
    out = tmp_path_factory.mktemp("cdk")
    finished = run_app(CONFIG, out)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    found: dict[str, dict[str, Any]] = json.loads((out / "promotion.template.json").read_text())["Resources"]
    return found


def the(resources: dict[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one["Properties"] for one in resources.values() if one["Type"] == kind)
    return dict(found)


def test_a_pushed_tag_never_moves_and_every_image_is_scanned(resources: dict[str, dict[str, Any]]) -> None:
    repository = the(resources, "AWS::ECR::Repository")
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_machines_run_the_image_by_its_digest(resources: dict[str, dict[str, Any]]) -> None:
    built = next(name for name, one in resources.items() if one["Type"] == "Custom::InferenceImage")
    told = [
        one["Properties"]["Environment"]["Variables"]
        for one in resources.values()
        if one["Type"] == "AWS::Lambda::Function"
        and one["Properties"].get("Handler", "").endswith("prepare_inference.handler")
    ]
    assert [variables[names.INFERENCE_IMAGE] for variables in told] == [{"Fn::GetAtt": [built, "Uri"]}]


def test_an_image_of_ones_own_is_not_built(tmp_path: Path) -> None:
    config = tmp_path / "promotion.toml"
    text = CONFIG.read_text().replace(
        "[advanced.inference]", '[advanced.inference]\nimage = "1.dkr.ecr.us-east-1.amazonaws.com/own@sha256:1"'
    )
    config.write_text(text)
    assert run_app(config, tmp_path / "out", nag="false").returncode == 0
    found = json.loads((tmp_path / "out" / "promotion.template.json").read_text())["Resources"].values()
    assert not [one for one in found if one["Type"] == "AWS::CodeBuild::Project"]


@pytest.mark.parametrize(("succeeding", "status"), [("1", "SUCCESS"), ("0", "FAILED")])
def test_the_build_answers_cloudformation_whatever_happened(tmp_path: Path, succeeding: str, status: str) -> None:
    """The build's own shell, with stand-ins for docker and curl."""
    for name, script in (
        ("docker", 'case "$*" in *RepoDigests*) echo 1.dkr.ecr/inference@sha256:abc;; *) echo base@sha256:def;; esac'),
        ("curl", 'echo "$@" > curl.txt'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "CODEBUILD_BUILD_SUCCEEDING": succeeding,
        "CODEBUILD_LOG_PATH": "log/1",
        "IMAGE": "1.dkr.ecr/inference:1",
        "REPOSITORY": "1.dkr.ecr/inference",
        "RESPONSE_URL": "https://cloudformation.example/answer",
        "STACK_ID": "stack",
        "REQUEST_ID": "request",
        "LOGICAL_ID": "Image",
    }
    spec: Any = image.build_spec()
    (command,) = spec["phases"]["post_build"]["commands"]
    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, check=True)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["Status"] == status
    assert answer["Data"] == {"Uri": "1.dkr.ecr/inference@sha256:abc", "Base": "base@sha256:def"}
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("stack", "request", "Image")
    assert "https://cloudformation.example/answer" in (tmp_path / "curl.txt").read_text()


def test_the_build_is_on_the_bytes_that_it_found_and_says_which(tmp_path: Path) -> None:
    """The build's own shell, with a docker that has no image yet and writes down what it is asked."""
    docker = 'echo "$@" >> asked.txt; case "$1 $2" in inspect*) echo base@sha256:def;; "pull img") exit 1;; esac'
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
    (tmp_path / "docker").chmod(0o755)
    spec: Any = image.build_spec()
    (command,) = spec["phases"]["build"]["commands"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "IMAGE": "img", "BASE": "base:v2"}
    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, check=True)
    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["pull", "pull", "inspect", "build", "push"]
    assert "--build-arg BASE=base@sha256:def --label org.opencontainers.image.base.name=base@sha256:def" in asked[3]


@pytest.fixture(scope="module")
def based(tmp_path_factory: pytest.TempPathFactory) -> PromotionStack:
    """The service's stack beside environments in accounts of their own, with a base image of one's own."""
    text = ACCOUNTS_CONFIG.read_text(encoding="utf-8")
    settings = loading.parse(f'{text}\nbase_image = "{PINNED_BASE}"\n')
    flags = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return PromotionStack(
        App(outdir=str(tmp_path_factory.mktemp("based")), context=flags),
        "promotion",
        settings=settings,
        prefix="/promotion",
        code=ROOT / "infra" / "unbundled",
        image_root=ROOT,
        env=Environment(account=SERVICE, region="us-east-1"),
    )


def test_a_base_of_ones_own_is_built_on_under_another_tag(
    resources: dict[str, dict[str, Any]], based: PromotionStack
) -> None:
    assert based.image is not None
    project = based.image.node.find_child("Build")
    assert isinstance(project, CfnProject)
    own = {each["name"]: each["value"] for each in based.resolve(project.environment)["environmentVariables"]}
    given = the(resources, "AWS::CodeBuild::Project")["Environment"]["EnvironmentVariables"]
    usual = {each["Name"]: each["Value"] for each in given}
    assert usual["BASE"] == image.default_base(ROOT)
    assert own["BASE"] == PINNED_BASE
    tags = [told["IMAGE"]["Fn::Join"][1][-1].rpartition(":")[2] for told in (own, usual)]
    assert [len(tag) for tag in tags] == [16, 16]
    assert tags[0] != tags[1]
    assert based.node.try_find_child("InferenceBaseImage")


def test_runs_in_other_accounts_pull_the_image_and_no_other_role_does(based: PromotionStack) -> None:
    assert based.image is not None
    repository = based.image.repository.node.default_child
    assert isinstance(repository, CfnRepository)
    statements = based.resolve(repository.repository_policy_text)["Statement"]
    for environment, account in ACCOUNTS.items():
        runs = role(account, f"promotion-{environment}-execution")
        for action in PULL:
            assert lets_in(statements, runs, action, "*", {}), (environment, action)
        assert not lets_in(statements, runs, "ecr:PutImage", "*", {})
        assert not lets_in(statements, role(account, "administrator"), PULL[0], "*", {})
    assert not lets_in(statements, role(OTHERS, "promotion-prod-execution"), PULL[0], "*", {})


class Answers:
    """CloudFormation's end of the line."""

    def __enter__(self) -> Answers:
        self.got: list[dict[str, Any]] = []
        got = self.got

        class Listener(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Listener)
        self.url = f"http://127.0.0.1:{self._server.server_port}/answer"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Builds:
    """CodeBuild, as far as it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started: list[dict[str, Any]] = []
        self._error = error

    def start_build(self, **request: Any) -> None:
        if self._error is not None:
            raise self._error
        self.started.append(request)


def event(url: str, kind: str) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Image",
        "ResourceProperties": {"Project": "build"},
    }


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_a_new_image_starts_a_build_that_answers_later(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    builds = Builds()
    monkeypatch.setattr(boto3, "client", lambda service: builds)
    with Answers() as answers:
        start_build.handler(event(answers.url, kind), None)
        assert answers.got == []
        (started,) = builds.started
        told = {one["name"]: one["value"] for one in started["environmentVariablesOverride"]}
        assert told == {
            "RESPONSE_URL": answers.url,
            "STACK_ID": "stack",
            "REQUEST_ID": "request",
            "LOGICAL_ID": "Image",
        }


def test_a_build_that_does_not_start_fails_the_deployment_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda service: Builds(RuntimeError("no such project")))
    with Answers() as answers:
        start_build.handler(event(answers.url, "Create"), None)
        (answer,) = answers.got
    assert answer["Status"] == "FAILED"
    assert "no such project" in answer["Reason"]


def test_deleting_the_stack_waits_for_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds()
    monkeypatch.setattr(boto3, "client", lambda service: builds)
    with Answers() as answers:
        start_build.handler(event(answers.url, "Delete"), None)
        assert [answer["Status"] for answer in answers.got] == ["SUCCESS"]
    assert builds.started == []


def test_the_starter_fits_into_the_template() -> None:
    assert len((ROOT / "infra" / "start_build.py").read_bytes()) <= 4096


def test_the_image_is_pinned_layered_and_roots() -> None:
    lines = (ROOT / "inference" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    (base,) = (rest for word, rest in steps if word == "ARG")
    assert re.fullmatch(r"BASE=public\.ecr\.aws/deep-learning-containers/[\w-]+:[\w.-]+-v\d+", base)
    user = [rest for word, rest in steps if word == "USER"]
    # SageMaker: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    assert user == ["0:0"]
    copies = [rest for word, rest in steps if word in ("COPY", "ADD")]
    assert copies[-1].startswith("inference ")
    assert "inference/torch.txt" in copies[0]
    assert "inference/requirements.txt" in copies[1]
    assert not [rest for word, rest in steps if word == "ADD"]
    assert ["ENTRYPOINT", '["python3", "-m", "inference"]'] in steps


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    lint = str(Path(sys.executable).with_name("hadolint"))
    linted = subprocess.run([lint, "inference/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, ""), linted.stdout + linted.stderr


def test_hadolint_does_look(tmp_path: Path) -> None:
    """The test above must be able to fail."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n", encoding="utf-8")
    lint = str(Path(sys.executable).with_name("hadolint"))
    linted = subprocess.run([lint, str(wrong)], capture_output=True, text=True, check=False)
    assert linted.returncode != 0
    assert "DL3006" in linted.stdout


def test_the_image_has_the_versions_that_the_tests_ran_on() -> None:
    everything, inside = pinned("requirements.txt"), pinned("inference/requirements.txt")
    assert {name: everything.get(name) for name in inside} == inside
    assert {"transformers", "safetensors"} <= set(inside)


def test_the_build_sees_the_sources_and_nothing_else() -> None:
    with image.staged(ROOT) as context:
        assert {entry.name for entry in context.iterdir()} == set(image.SOURCES)
        assert not list(context.rglob("__pycache__"))


def test_a_second_synth_waits_until_the_first_has_the_sources(tmp_path: Path) -> None:
    for name in image.SOURCES:
        (tmp_path / name).mkdir()
    with (
        image.staged(tmp_path) as context,
        context.with_suffix(".lock").open("w") as second,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with context.with_suffix(".lock").open("w") as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_build_that_could_not_answer_is_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed out, stopped, or failed before its own last commands: the event of its end has what it was told."""
    with Answers() as answers:
        told = {"RESPONSE_URL": answers.url, "STACK_ID": "stack", "REQUEST_ID": "request", "LOGICAL_ID": "Image"}
        detail = {
            "build-id": "build/1",
            "build-status": "TIMED_OUT",
            "additional-information": {
                "environment": {"environment-variables": [{"name": k, "value": v} for k, v in told.items()]}
            },
        }
        start_build.handler({"detail": detail}, None)
        (answer,) = answers.got
    assert (answer["Status"], answer["StackId"], answer["LogicalResourceId"]) == ("FAILED", "stack", "Image")
    assert "TIMED_OUT" in answer["Reason"]


def test_the_end_of_a_build_that_a_person_started_is_told_to_nobody() -> None:
    variables = [{"name": "IMAGE", "value": "1.dkr.ecr/inference:1"}]
    detail = {
        "build-id": "build/1",
        "build-status": "FAILED",
        "additional-information": {"environment": {"environment-variables": variables}},
    }
    with Answers() as answers:
        start_build.handler({"detail": detail}, None)
        assert answers.got == []
