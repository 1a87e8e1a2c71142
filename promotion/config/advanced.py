"""The table `[advanced]` of a `promotion.toml`: settings that most installations leave at their defaults.

It has the structure of the file: `[advanced.inference]`, and for an environment `[advanced.environments.prod]`. Loading
merges it into the sections, so that only this module and the file show which settings are for experts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from promotion.errors import Invalid

TABLE = "advanced"
# The settings and sections that belong under [advanced], by their section; `*` is any name.
EXPERT: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("bypass", "ledger_table", "retired", "drift", "signing", "web"),
    ("mail",): ("samples_in_mail", "domains", "settle"),
    ("identity",): (
        "client_authentication", "response_mode", "groups_separator", "scopes", "session_lifetime", "requesters", "ca_bundle",
        "proxy", "graph", "backchannel_logout",
    ),
    ("environments", "*"): (
        "region", "execution_role", "subnets", "security_groups", "volume_key", "output_key", "on_revoke", "signature",
        "without_run", "decision", "endpoint",
    ),
    ("groups_override", "*", "environments", "*"): ("on_revoke", "signature", "without_run", "decision"),
    ("groups_override", "*", "inference"): (
        "input", "references", "header", "accept", "input_filter", "prediction_field", "reference_field", "id_field",
        "query_field", "cutoffs", "positive", "threshold",
    ),
    ("artifacts",): ("region", "hash_in_function_up_to_gb", "hash_instance_type", "keep_copy"),
    ("inference",): (
        "transform_ami_version", "longest_transform", "instance_count", "score_instance_type", "image", "base_image",
        "max_payload_mb", "max_concurrent_transforms", "hyper_params", "subnets", "security_groups", "volume_key", "output_key",
        "network_isolation", "reporters",
    ),
    ("channels", "*"): ("events", "groups"),
}  # fmt: skip
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r'"[^"]*"|\[[^\]]*\]|[^.\[\]"]+')


def merged(document: Mapping[str, object], source: str) -> dict[str, object]:
    """Return a file's document with `[advanced]` merged into its sections.

    Raises:
        Invalid: an expert setting is outside `[advanced]`, or a setting inside it is no expert setting.
    """
    plain = {name: _copied(value) for name, value in document.items() if name != TABLE}
    for section, settings in EXPERT.items():
        for parts, table in _tables(plain, section, ()):
            for name in (name for name in settings if name in table):
                old, new = _dotted(*parts, name), _dotted(TABLE, *parts)
                raise Invalid(
                    f"{source} {old}", f"this setting is for experts and goes under [{new}]: docs/configuration.md."
                )
    given = document.get(TABLE, {})
    if not isinstance(given, Mapping):
        raise Invalid(f"{source} {TABLE}", "this is a table: [advanced.inference], for example.")
    _merge(plain, given, (), source)
    return plain


def place(at: str, environments: Sequence[str]) -> str:
    """Return a setting's place in the file, given its path in the configuration, such as `environments[0].subnets`."""
    parts = _PART.findall(at)
    if not any(_fits(tuple(parts[:depth]), name) for depth, name in enumerate(parts)):
        return at
    if parts[0] == "environments" and (index := parts[1].strip("[]")).isdecimal() and int(index) < len(environments):
        at = at.replace(f"environments[{index}]", f"environments.{environments[int(index)]}", 1)
    return f"{TABLE}.{at}"


def _tables(
    found: object, section: tuple[str, ...], parts: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
    """Yield the tables of a section, with the names that lead to each."""
    if not section:
        if isinstance(found, Mapping):
            yield parts, found
        return
    for name, child in _children(found):
        if section[0] in ("*", name):
            yield from _tables(child, section[1:], (*parts, name))


def _children(found: object) -> list[tuple[str, object]]:
    """Return the items of a table, or the tables of an array with their names."""
    if isinstance(found, Mapping):
        return list(found.items())
    tables = found if isinstance(found, list) else []
    return [(str(each.get("name")), each) for each in tables if isinstance(each, dict)]


def _merge(into: object, given: Mapping[str, object], parts: tuple[str, ...], source: str) -> None:
    """Merge the table `given`, which is at `parts` below `[advanced]`, into the section `into`."""
    for name, value in given.items():
        here = (*parts, name)
        if _fits(parts, name):
            if isinstance(into, dict):
                into[name] = value
            continue
        if not isinstance(value, Mapping) or not _leads_on(here):
            reason = "this is no setting for experts: docs/configuration.md has the place of each."
            raise Invalid(f"{source} {_dotted(TABLE, *here)}", reason)
        if parts == ("environments",) and name not in dict(_children(into)):
            raise Invalid(f"{source} {_dotted(TABLE, *here)}", f"there is no environment {name!r}.")
        if isinstance(into, dict):
            into.setdefault(name, {})
        _merge(dict(_children(into)).get(name), value, here, source)


def _fits(parts: tuple[str, ...], name: str) -> bool:
    return any(name in settings and _matches(section, parts) for section, settings in EXPERT.items())


def _leads_on(parts: tuple[str, ...]) -> bool:
    return any(_matches(section[: len(parts)], parts) for section in EXPERT)


def _matches(section: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(section) == len(parts) and all(
        wanted in ("*", part) for wanted, part in zip(section, parts, strict=True)
    )


def _copied(value: object) -> object:
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _dotted(*parts: str) -> str:
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in parts)
