"""The local service with a provider of the directory, and people in a browser of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, expect

from local.service import LocalService
from outside.directory.active_directory import Account
from outside.directory.providers import CLIENT_ID, Provider
from tests.browser.conftest import PATIENCE_MS
from tests.local.people import mails_to, register

MAILBOX = "approvers@example.com"
SHORT_S = 2
# Where `renamed` members approve, where a form is soon too old, and where each decision needs a sign-in of its own.
_CONFIGURATION = """
[mail]
sender = "models@example.com"

[identity]
issuer = "https://login.example.com"
client_id = "promotion"
auditors = {{ id = "{auditors}", name = "ML auditors" }}

[inference]
bucket = "promotion-models"

[artifacts]
buckets = ["promotion-models"]

[[environments]]
name = "dev"
approver_group = {{ id = "{approvers}", name = "ML approvers, dev" }}
approvers = ["{mailbox}"]

[groups_override."renamed-*".environments.dev]
approver_group = {{ id = "{renamed}", name = "ML approvers, EMEA" }}

[advanced.identity]
backchannel_logout = true

[advanced.groups_override."short-*".environments.dev]
decision = {{ fresh_within = "{short}s" }}

[advanced.groups_override."each-*".environments.dev]
decision = {{ fresh_within = "0s" }}

[advanced.groups_override."signed-*".environments.dev]
signature = true

[groups_override."twins".environments.dev]
quorum = 2
"""


@dataclass
class Installation:
    """A running service. `login_at` fills in the provider's own form."""

    service: LocalService
    provider: Provider
    browser: Browser
    login_at: Callable[[Page, Account], None]
    _contexts: list[BrowserContext] = field(default_factory=list)

    def ask(self, group: str, requested_by: str = "dee@example.com") -> str:
        """Register a version; return the path of the approval link in the mail."""
        register(self.service, group, CustomerMetadataProperties={"requested_by": requested_by})
        mails = self.service.wait_for(lambda: mails_to(self.service, MAILBOX, f"{group} v1"))
        found = re.search(re.escape(self.service.url) + r"(/approvals/[\w.~-]+)", mails[-1]["text"])
        assert found is not None
        return found[1]

    def page(self) -> Page:
        """A browser page without a session."""
        context = self.browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        return context.new_page()

    def sign_in(self, person: Account, path: str) -> Page:
        """Open a link, sign in at the provider, and return the page behind."""
        page = self.page()
        page.goto(f"{self.service.url}{path}")
        self.login_at(page, person)
        return page

    def decides(self, page: Page) -> None:
        """Approve on a request's page, until the registry and Parameter Store say the same."""
        self.press_approve(page)
        self.service.wait_for(lambda: all((self.document(page).get("applied") or {"": False}).values()))
        assert self.document(page)["state"] == "Approved"

    def press_approve(self, page: Page, reason: str = "Read the evidence.") -> None:
        page.get_by_label("Your reason").fill(reason)
        page.get_by_role("button", name="Approve for dev").click()
        expect(page.get_by_role("button", name="Approve for dev")).to_be_hidden()

    def document(self, page: Page, path: str = "") -> dict[str, Any]:
        """The request as JSON, read with the page's session."""
        url = f"{self.service.url}{path or urlsplit(page.url).path}"
        answer = page.request.get(url, headers={"Accept": "application/json"})
        assert answer.ok, answer.text()
        document: dict[str, Any] = answer.json()
        return document

    def post(self, page: Page, path: str, csrf: str) -> APIResponse:
        """An approval sent without a form of the page."""
        return page.request.post(
            f"{self.service.url}{path}",
            form={"verdict": "Approved", "reason": "Sent by hand.", "csrf": csrf},
            headers={"Origin": self.service.url},
            max_redirects=0,
        )

    def status(self, group: str) -> str:
        """The approval status in the registry."""
        sagemaker = self.service.session().client("sagemaker")
        pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        (package,) = (each for page in pages for each in page["ModelPackageSummaryList"])
        return str(package["ModelApprovalStatus"])

    def after(self, moment: float, seconds: float) -> None:
        """Wait until some seconds of real time have gone since `moment`: a provider's tokens go by no other clock."""
        self.service.wait_for(lambda: time.monotonic() - moment > seconds)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@contextmanager
def installed(
    service: LocalService, provider: Provider, browser: Browser, login_at: Callable[[Page, Account], None]
) -> Iterator[Installation]:
    """Start the service with the provider that a person's own IDP_ISSUER would name."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IDP_ISSUER", provider.issuer)
        environment.setenv("IDP_CLIENT_ID", CLIENT_ID)
        environment.setenv("IDP_CLIENT_SECRET", provider.secret)
        service.start()
    installation = Installation(service, provider, browser, login_at)
    try:
        yield installation
    finally:
        installation.close()
        service.stop()


def configure(folder: Path, *, approvers: str, auditors: str, renamed: str) -> Path:
    """Write a promotion.toml whose groups have the ids that the provider sends."""
    path = folder / "promotion.toml"
    text = _CONFIGURATION.format(
        approvers=approvers, auditors=auditors, renamed=renamed, mailbox=MAILBOX, short=SHORT_S
    )
    path.write_text(text, encoding="utf-8")
    return path
