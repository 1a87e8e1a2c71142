"""/_local/ links to everything, prints what to export, and registers a sample; two services keep their files apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from local.__main__ import default_home
from local.beginning import Beginning
from local.own_pages import OwnPages
from local.payload import IncomingRequest
from local.ports import Ports

PORTS = Ports(http=8123, aws=5123, idp=9123)


class Registry:
    """S3 and SageMaker, which keep what they are given."""

    def __init__(self) -> None:
        self.packages: list[dict[str, Any]] = []
        self.groups: list[str] = []

    def put_object(self, **_: Any) -> None:
        pass

    def list_model_package_groups(self) -> dict[str, Any]:
        return {"ModelPackageGroupSummaryList": [{"ModelPackageGroupName": name} for name in self.groups]}

    def create_model_package_group(self, ModelPackageGroupName: str) -> None:  # noqa: N803
        self.groups.append(ModelPackageGroupName)

    def create_model_package(self, **given: Any) -> dict[str, str]:
        self.packages.append(given)
        return {"ModelPackageArn": f"arn:aws:sagemaker:us-east-1:1:model-package/sample/{len(self.packages)}"}


class Mails:
    """An empty mailbox."""

    def newest_first(self) -> list[Any]:
        return []


def pages(registry: Registry) -> OwnPages:
    mailbox: Any = Mails()
    clock: Any = None
    return OwnPages(mailbox, clock, Beginning(PORTS, Path("/home/of/it"), lambda service: registry))


def request(method: str, path: str, *headers: tuple[str, str]) -> IncomingRequest:
    return IncomingRequest(method=method, target=path, headers=headers, body=b"", source_ip="127.0.0.1")


def test_the_page_links_to_all_of_it_and_says_what_to_export() -> None:
    answer = pages(Registry()).answer(request("GET", "/_local/"))
    assert answer is not None
    text = bytes(answer.body).decode()
    assert {"/", "/_local/mailbox", "/healthz"} <= set(re.findall(r"href='([^']+)'", text))
    assert "export PROMOTION_CONFIG=/home/of/it/promotion.toml" in text
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:5123" in text


def test_the_button_registers_one_more_version_each_time() -> None:
    registry = Registry()
    for version in (1, 2):
        answer = pages(registry).answer(request("POST", "/_local/sample"))
        assert answer is not None
        assert f"sample v{version}" in bytes(answer.body).decode()
    assert registry.groups == ["sample"]
    assert registry.packages[0]["CustomerMetadataProperties"]["requested_by"] == "dee@example.com"


def test_another_site_registers_nothing() -> None:
    registry = Registry()
    answer = pages(registry).answer(request("POST", "/_local/sample", ("origin", "https://evil.example")))
    assert answer is not None
    assert answer.status == 403
    assert registry.packages == []


def test_two_services_on_one_checkout_have_a_folder_each() -> None:
    assert default_home({}).name == default_home({"PORT": "8000"}).name == "local"
    assert default_home({"PORT": "8310"}).name == "local-8310"
