"""Welcome text of the local service: addresses, people, first steps."""

from __future__ import annotations

from pathlib import Path

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, REGION
from local.ports import Ports
from promotion import names

PEOPLE = (
    "ann approves everywhere · ben dev and test · cho uat and prod · dan prod · dee registers models · aud audits · "
    "eve has no group"
)


def environment(ports: Ports, home: Path) -> dict[str, str]:
    """Return the environment variables with which AWS clients and the promotion command use this service."""
    return {
        "AWS_ENDPOINT_URL": ports.aws_url,
        "AWS_ACCESS_KEY_ID": ADMINISTRATOR_KEY,
        "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR_SECRET,
        "AWS_DEFAULT_REGION": REGION,
        names.CONFIG: str(home / names.CONFIG_FILE),
        names.PUBLIC_KEY: str(home / names.PUBLIC_KEY_FILE),
    }


def welcome(ports: Ports, home: Path, seconds: float) -> str:
    """Return the welcome text."""
    exports = "\n".join(f"  export {name}={value}" for name, value in environment(ports, home).items())
    return f"""
Up after {seconds:.1f} s. Everything is on 127.0.0.1, in memory only, and gone after Ctrl-C.

  Begin here  {ports.http_url}/_local/   (links to all of it, and a button that registers a model)
  Approvals   {ports.http_url}/
  Mailbox     {ports.http_url}/_local/mailbox
  AWS         {ports.aws_url}   (account 123456789012, {REGION})
  Sign-in     {ports.idp_url}   (the password is the name)
              {PEOPLE}
  Logs        {home / "logs"}

Point any AWS client here:
{exports}

Register a model by the button, or as docs/registering.md says; open the mailbox, follow the link, sign in as ann, and decide.
Ctrl-C ends it."""
