"""The local identity provider, with sample people in the groups of the configuration in effect."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from local.children import Children, describe, plain_environment
from local.ports import Ports
from promotion.config.loading import Config

ROOT = Path(__file__).resolve().parent.parent
CLIENT_ID = "promotion"
_START_SECONDS = 300.0
# The environments for which each person is in the approver group; "*" is all of them. Each password is the name.
_APPROVES: dict[str, tuple[str, ...]] = {
    "ann": ("*",),
    "ben": ("dev", "test"),
    "cho": ("uat", "prod"),
    "dan": ("prod",),
    "dee": (),
    "aud": (),
    "eve": (),
}


class IdentityProviderFailed(Exception):
    """Node or oidc-provider didn't start; the message has the remedy."""


def people(config: Config) -> dict[str, dict[str, Any]]:
    """Return the sample people: name, address, and the ids of their groups."""
    found: dict[str, dict[str, Any]] = {}
    for login, environments in _APPROVES.items():
        groups = [
            environment.approver_group.id
            for environment in config.environments
            if "*" in environments or environment.name in environments
        ]
        if login == "aud" and config.identity.auditors is not None:
            groups.append(config.identity.auditors.id)
        about = {
            "ann": "approves everywhere",
            "dee": "registers models, approves nothing",
            "aud": "audits",
            "eve": "has no group",
        }.get(login) or f"approves {' and '.join(environments)}"
        if login == "dee":
            groups.append("ml-developers")
        found[login] = {"name": login.capitalize(), "email": f"{login}@example.com", "groups": groups, "about": about}
    return found


class IdentityProvider:
    """The Node process, whose time can be advanced."""

    def __init__(self, ports: Ports, config: Config, client_secret: str, children: Children, log: Path) -> None:
        self._url = ports.idp_url
        self._log = log
        settings = {
            "port": ports.idp,
            "issuer": ports.idp_url,
            "client_id": CLIENT_ID,
            "client_secret": client_secret,
            "redirect_uris": [f"{ports.http_url}/callback"],
            "post_logout_redirect_uris": [f"{ports.http_url}/"],
            # Back-channel logout: the provider notifies the service when a session ends, if that is configured.
            "backchannel_logout_uri": f"{ports.http_url}/backchannel-logout"
            if config.identity.backchannel_logout
            else None,
            "groups_claim": config.identity.groups_claim,
            "cookie_key": secrets.token_urlsafe(32),
            "people": people(config),
        }
        if not (ROOT / "node_modules" / "oidc-provider").is_dir():
            raise IdentityProviderFailed(
                "The identity provider isn't installed: run `npm ci`, or `make local`, which does."
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as log_file:
            try:
                self._process = children.start(
                    ["node", str(ROOT / "local" / "idp" / "server.mjs")],
                    environment=plain_environment(NODE_NO_WARNINGS="1"),
                    directory=ROOT,
                    log=log_file.fileno(),
                    stdin=subprocess.PIPE,
                )
            except FileNotFoundError:
                raise IdentityProviderFailed(
                    "Node 20 or newer is needed for the identity provider; `node` is not on PATH."
                ) from None
        self._tell(settings)

    def wait_ready(self) -> None:
        """Wait until the provider answers.

        Raises:
            IdentityProviderFailed: the process ended, or doesn't answer in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-2000:]
                raise IdentityProviderFailed(
                    f"The identity provider did not start ({describe(self._process)}):\n{tail}"
                )
            time.sleep(0.05)

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/_local/healthz", timeout=10) as answer:  # noqa: S310 our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def follow(self, offset_seconds: float) -> None:
        """Set the provider's time to the local time."""
        self._tell({"offset_seconds": offset_seconds})

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()
