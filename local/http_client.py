"""A visitor of the local service over plain HTTP, like a browser without scripts: signs in, reads, decides."""

from __future__ import annotations

from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

import requests

TIMEOUT_S = 30


class Visitor:
    """One of the local people; their password is their name."""

    def __init__(self, base_url: str, name: str) -> None:
        self.base_url = base_url
        self.name = name
        self.http = requests.Session()

    def sign_in(self) -> Visitor:
        """Sign in by the identity provider's form.

        Raises:
            RuntimeError: the provider showed no form, or the service made no session.
        """
        form = self.http.get(f"{self.base_url}/login", timeout=TIMEOUT_S)
        found = Form()
        found.feed(form.text)
        if found.action is None:
            raise RuntimeError(f"{self.name} could not sign in: {form.status_code} at {form.url}")
        fields = {**found.fields, "login": self.name, "password": self.name}
        self.http.post(urljoin(form.url, found.action), data=fields, timeout=TIMEOUT_S)
        if "session" not in self.http.cookies:
            raise RuntimeError(f"{self.name} was given no session.")
        return self

    def read(self, link: str) -> dict[str, Any]:
        """Return a page as JSON, with the HTTP status as `status`."""
        answer = self.http.get(self._url(link), headers={"Accept": "application/json"}, timeout=TIMEOUT_S)
        return {**answer.json(), "status": answer.status_code}

    def post(self, link: str, **fields: str) -> requests.Response:
        """Send a form as the page would; the redirect is not followed."""
        headers = {"Accept": "application/json", "Origin": self.base_url}
        return self.http.post(self._url(link), data=fields, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)

    def decide(self, link: str, verdict: str, reason: str) -> requests.Response:
        """Open a request and send its page's form; sign in again if the sign-in is too old for a decision."""
        answer = self.post(link, verdict=verdict, reason=reason, csrf=str(self.read(link).get("csrf", "")))
        if answer.status_code != HTTPStatus.UNAUTHORIZED:
            return answer
        self.http.get(f"{self.base_url}/login", params={"return_to": link, "renew": "1"}, timeout=TIMEOUT_S)
        return self.post(link, verdict=verdict, reason=reason, csrf=str(self.read(link).get("csrf", "")))

    def roll_back(self, group: str, environment: str, reason: str, to_version: int) -> requests.Response:
        """Send the form for a rollback on a model's page."""
        csrf = str(self.read(f"/models/{group}").get("csrf", ""))
        link = f"/models/{group}/{environment}/rollback"
        return self.post(link, reason=reason, csrf=csrf, to_version=str(to_version))

    def _url(self, link: str) -> str:
        return urljoin(f"{self.base_url}/", link)


class Form(HTMLParser):
    """The first form of a page: its action, and its prefilled fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = given.get("action") or ""
        elif tag == "input" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""
