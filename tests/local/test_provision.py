"""Resources of a template are made in moto, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.iam.models import iam_backends

from local import ACCOUNT, REGION
from local.aws import access, callers
from local.aws.needs import Need
from local.children import Children
from local.deployment import Deployment
from local.provision import functions, identity, wiring  # noqa: F401 each registers what it can make
from local.provision.builder import Builder, build
from local.runtime.function import Place
from local.template import Template, TemplateError

pytestmark = pytest.mark.usefixtures("moto")
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:registrations"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}}
FUNCTION = {
    "Type": "AWS::Lambda::Function",
    "Properties": {"Handler": "lambdas.handlers.sweep.handler", "Role": {"Fn::GetAtt": ["Role", "Arn"]}},
}


class InProcess(Builder):
    """A builder whose AWS is moto in this process."""

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(service, region_name=REGION)


def built(**resources: Any) -> Builder:
    place = Place(Path(), Path(), Path(), "http://127.0.0.1:9", lambda *_: {})
    nothing: Any = None  # no process is started
    children: Children = nothing
    builder = InProcess(Template({"Resources": resources}), Deployment(), place, children, "http://127.0.0.1:9")
    build(builder)
    return builder


def test_statements_that_the_cdk_moved_out_of_a_roles_own_policy_allow_what_they_say() -> None:
    allowed = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE}],
    }
    overflow = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Path": "/", "PolicyDocument": allowed, "Roles": [{"Ref": "Role"}]},
    }
    builder = built(Role=ROLE, RoleOverflowPolicy1=overflow)
    arn = builder.template.made["Role"].attributes["Arn"]
    session = callers.service_session(arn, "x", "lambda.amazonaws.com")
    caller = callers.find(session["aws_access_key_id"], session["aws_session_token"])
    assert access.allowed(caller, Need("sqs:SendMessage", QUEUE))
    assert not access.allowed(caller, Need("sqs:SendMessage", f"{QUEUE}-other"))


@pytest.mark.parametrize("enabled", [None, True, False, "false"])
def test_an_event_source_that_is_switched_off_is_not_read(enabled: Any) -> None:
    properties = {"FunctionName": {"Ref": "Sweep"}, "EventSourceArn": QUEUE}
    if enabled is not None:
        properties["Enabled"] = enabled
    builder = built(
        Role=ROLE, Sweep=FUNCTION, Source={"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties}
    )
    assert len(builder.deployment.event_sources) == (enabled not in (False, "false"))


def test_a_resource_that_is_not_made_here_has_an_arn_and_nothing_else() -> None:
    log = {"Type": "AWS::Logs::LogGroup"}
    uses = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Fn::GetAtt": ["Log", "Arn"]}}}
    with pytest.raises(TemplateError, match=r"Topic: AWS::Logs::LogGroup Log has no attribute Size here"):
        built(Log=log, Topic={**uses, "Properties": {"TopicName": {"Fn::GetAtt": ["Log", "Size"]}}})
    assert built(Log=log).template.resolve({"Fn::GetAtt": ["Log", "Arn"]}) == f"arn:aws:local:{REGION}:ignored:Log"


@pytest.mark.parametrize(
    ("type_", "properties", "says"),
    [
        ("AWS::IAM::Role", {"Policies": []}, "doesn't know a role's Policies"),
        ("AWS::IAM::Role", {"ManagedPolicyArns": []}, "doesn't know a role's ManagedPolicyArns"),
        ("AWS::Lambda::Alias", {}, "can't make AWS::Lambda::Alias"),
        ("AWS::Lambda::Permission", {"FunctionName": "gone"}, "there is no function gone"),
        ("AWS::StepFunctions::StateMachine", {"Definition": {}}, "only a DefinitionString without substitutions"),
        (
            "AWS::StepFunctions::StateMachine",
            {"DefinitionString": "{}", "DefinitionSubstitutions": {"a": "b"}},
            "only a DefinitionString without substitutions",
        ),
        (
            "AWS::ApiGatewayV2::Integration",
            {"IntegrationType": "HTTP_PROXY", "PayloadFormatVersion": "2.0"},
            "only AWS_PROXY integrations",
        ),
        (
            "AWS::ApiGatewayV2::Integration",
            {"IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "1.0"},
            "with payload format 2.0",
        ),
        ("AWS::ApiGatewayV2::Route", {"AuthorizationType": "JWT"}, "can't check JWT"),
    ],
)
def test_what_the_product_does_not_deploy_is_refused_by_name(type_: str, properties: dict[str, Any], says: str) -> None:
    with pytest.raises(TemplateError, match=f"^Surprise: .*{says}"):
        built(Surprise={"Type": type_, "Properties": properties})
    assert not iam_backends[ACCOUNT]["aws"].roles
