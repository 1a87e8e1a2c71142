"""The configuration in effect, changed for the local identity provider and the local administrator."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local import ADMINISTRATOR_ARN, IMAGE
from local.identity_provider import CLIENT_ID
from promotion import names
from promotion.config import loading
from promotion.config.loading import Config

ROOT = Path(__file__).resolve().parent.parent
_OWN = ("execution_role", "subnets", "security_groups", "volume_key", "output_key")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def in_effect(path: Path | None) -> Path:
    """Return `path`, else the file in PROMOTION_CONFIG, else the repository's own."""
    return path or Path(os.environ.get(names.CONFIG) or ROOT / names.CONFIG_FILE)


def write(source: Path, target: Path, *, issuer: str, client_id: str = CLIENT_ID) -> Config:
    """Write `source` with the local service's settings to `target`, and return it parsed.

    Raises:
        Invalid: the configuration is invalid; the error has the place and the reason.
    """
    loading.load(source)
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    document["identity"] = {**document["identity"], "issuer": issuer, "client_id": client_id}
    expert = document["advanced"] = {**document.get("advanced", {})}
    if client_id == CLIENT_ID:
        # The local provider is on loopback, answers by redirect, and authenticates clients by Basic.
        expert["identity"] = _without(
            expert.get("identity", {}), "client_authentication", "response_mode", "ca_bundle", "proxy"
        )
    operators = document.get("operators", {})
    document["operators"] = {**operators, "principals": [*operators.get("principals", []), ADMINISTRATOR_ARN]}
    _bring_home(document)
    runs = expert.get("inference", {})
    # No image is built here; jobs run this program itself, for any image.
    reporters = [*runs.get("reporters", []), ADMINISTRATOR_ARN]
    expert["inference"] = {"image": IMAGE, **_without(runs, *_OWN), "reporters": reporters}
    # Mail must appear in the local mailbox without delay.
    expert["mail"] = {"settle": "0s", **expert.get("mail", {})}
    # The local address is 127.0.0.1, for any domain of the deployed service.
    expert.pop("web", None)
    # There are no retained resources, because the local service's state ends with it.
    expert.pop("ledger_table", None)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("# Written by the local service, anew at every start.\n" + toml(document), encoding="utf-8")
    return loading.load(target)


def _bring_home(document: dict[str, Any]) -> None:
    """Remove other accounts, networks, keys and roles, because the local service has one account."""
    document.pop("registry", None)
    document["environments"] = [_without(each, "account") for each in document["environments"]]
    expert = document["advanced"]
    expert["environments"] = {
        name: _without(each, "region", *_OWN) for name, each in expert.get("environments", {}).items()
    }
    expert["artifacts"] = _without(expert.get("artifacts", {}), "region")


def _without(section: Mapping[str, Any], *settings: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in settings}


def toml(document: Mapping[str, Any]) -> str:
    """Return a document as TOML, with inline tables below the top level."""
    simple = [f"{_key(key)} = {_value(value)}\n" for key, value in document.items() if not isinstance(value, Mapping)]
    tables = [
        f"\n[{_key(key)}]\n" + "".join(f"{_key(name)} = {_value(each)}\n" for name, each in value.items())
        for key, value in document.items()
        if isinstance(value, Mapping)
    ]
    return "".join((*simple, *tables))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are valid in TOML, but TOML requires an escape for one character that JSON doesn't escape.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
