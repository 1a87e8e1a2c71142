"""People with a browser that keeps cookies and follows redirects, as scripts against the local service would."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any, Self

import httpx

from local import sample
from local.service import LocalService

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/inference:1"


def execution_role(service: LocalService, name: str, *, without: str = "") -> str:
    """Make a role for SageMaker's jobs that has all rights that they need, except one."""
    return execution_role_by(service.session().client("iam"), name, without=without)


def execution_role_by(iam: Any, name: str, *, without: str = "") -> str:
    """Make such a role by a client of IAM."""
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    statements = [
        {"Effect": "Allow", "Action": ["s3:*", "ecr:*", "logs:*", "cloudwatch:PutMetricData"], "Resource": "*"}
    ]
    if without:
        statements.append({"Effect": "Deny", "Action": [without], "Resource": "*"})
    documents = [json.dumps({"Version": "2012-10-17", "Statement": each}) for each in ([trust], statements)]
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=documents[0])["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=documents[1])
    return arn


class Person:
    """Signs in by the identity provider's form; `get` and `post` are as the person's browser would do them."""

    def __init__(self, service: LocalService, name: str) -> None:
        self.name = name
        self._service = service
        self.browser = httpx.Client(follow_redirects=True, timeout=300)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()

    def sign_in(self, url: str = "/") -> httpx.Response:
        """Opens `url`, fills in the form, and returns the page behind it."""
        page = self.browser.get(self._absolute(url))
        action = re.search(r'<form method="post" action="([^"]+)"', page.text)
        assert action is not None, page.text[:500]
        return self.browser.post(
            f"{self._service.idp_url}{unescape(action[1])}", data={"login": self.name, "password": self.name}
        )

    def json(self, url: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.browser.get(self._absolute(url), headers={"Accept": "application/json"}).json()
        return answer

    def decide(self, link: str, verdict: str = "Approved", reason: str = "Looks right.") -> httpx.Response:
        """Posts a verdict with the page's token, as its form does, and returns the answer before any redirect.

        Where the sign-in has become too old to decide, signs in again by the provider's own session, as a browser would.
        """
        answer = self._post_verdict(link, verdict, reason)
        if answer.status_code != 401:
            return answer
        self.browser.get(self._absolute("/login"), params={"return_to": link, "renew": "1"})
        return self._post_verdict(link, verdict, reason)

    def _post_verdict(self, link: str, verdict: str, reason: str) -> httpx.Response:
        csrf = self.json(link)["csrf"]
        return self.browser.post(
            self._absolute(link),
            data={"verdict": verdict, "reason": reason, "csrf": csrf},
            headers={"Origin": self._service.url},
            follow_redirects=False,
        )

    def _absolute(self, url: str) -> str:
        return url if url.startswith("http") else f"{self._service.url}{url}"


def artifact(content: bytes = b"bytes") -> bytes:
    """A model.tar.gz that can be registered; `content` makes it another."""
    return sample.artifact(content)


def register(service: LocalService, group: str, *, body: bytes | None = None, image: str = IMAGE, **extra: Any) -> str:
    """Puts an artifact into S3 and registers it as a plain boto3 client would; returns the package's ARN."""
    session = service.session()
    session.client("s3").put_object(
        Bucket="promotion-models", Key=f"{group}/model.tar.gz", Body=body or artifact(group.encode())
    )
    sagemaker = session.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_package_groups").paginate()
    groups = {each["ModelPackageGroupName"] for page in pages for each in page["ModelPackageGroupSummaryList"]}
    if group not in groups:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    container = {"Image": image, "ModelDataUrl": f"s3://promotion-models/{group}/model.tar.gz"}
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["application/jsonlines"],
            "SupportedResponseMIMETypes": ["application/jsonlines"],
        },
        **{"CustomerMetadataProperties": {"requested_by": "dee@example.com"}, **extra},
    )["ModelPackageArn"]
    return arn


def mails_to(service: LocalService, address: str, about: str) -> list[dict[str, Any]]:
    """Mails to an address whose subject speaks of a group, newest first."""
    return [mail for mail in service.mailbox() if address in mail["to"] and about in mail["subject"]]
