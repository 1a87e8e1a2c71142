"""Checks of a `promotion.toml` that its types can't express."""

from __future__ import annotations

import ast
import json
import math
import re
import string
import zoneinfo
from datetime import timedelta
from typing import NoReturn

from promotion import names
from promotion.config import advanced, identity, resources
from promotion.config.resources import Refuse
from promotion.config.settings import (
    Channel,
    Config,
    Endpoint,
    Environment,
    Gate,
    Inference,
    Retraining,
    Web,
    duration,
)
from promotion.config.signing_settings import Signing
from promotion.errors import Invalid

_MAIL_ADDRESS = re.compile(r"[^@\s<>\",;]+@[^@\s<>\",;]+\.[^@\s<>\",;]+|[^@\s<>\",;]+@localhost")
_PIPELINE = re.compile(r"arn:aws[\w-]*:sagemaker:[a-z0-9-]+:\d{12}:pipeline/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,255}")
_TOPIC = re.compile(r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}")
_SECRET = re.compile(r"arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
# Placeholders in the parameters of a retraining pipeline.
FILLED_IN = ("group", "environment", "version", "input")
MOST_PARAMETERS = 200
# Longest part of an endpoint's name around its group, of SageMaker's 63 characters.
LONGEST_AROUND_GROUP = 50
LONGEST_SERVICE = 16
LONGEST_SESSION = timedelta(hours=24)
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html, MaxPayloadInMB
MOST_PAYLOADS_MB = 100
LONGEST_TRANSFORM = timedelta(days=2)


def check(config: Config, source: str) -> None:
    """Check the rules that types can't express.

    Raises:
        Invalid: with the place in the file and the reason.
    """

    def refuse(place: str, reason: str) -> NoReturn:
        raise Invalid(f"{source} {advanced.place(place, config.environment_names)}", reason)

    if not config.environments:
        refuse("environments", "at least one [[environments]] is needed.")
    if not config.groups:
        refuse("groups", 'name at least one model package group or pattern; ["*"] governs all.')
    seen: set[str] = set()
    endpoints: set[tuple[str | None, str]] = set()
    for index, environment in enumerate(config.environments):
        place = f"environments[{index}]"
        if not names.ENVIRONMENT_PATTERN.fullmatch(environment.name) or environment.name in names.RESERVED_ENVIRONMENTS:
            refuse(
                f"{place}.name",
                f"{environment.name!r} can't name an environment: lower case letters, digits and "
                "hyphens, beginning with a letter, not ending with a hyphen, at most 32, and not 'versions'.",
            )
        if environment.name in seen:
            refuse(f"{place}.name", f"{environment.name!r} is there twice.")
        seen.add(environment.name)
        if not environment.approvers:
            refuse(f"{place}.approvers", "name at least one address to mail; a list address will do.")
        _check_addresses(environment.approvers, f"{place}.approvers", refuse)
        _check_addresses(environment.stakeholders, f"{place}.stakeholders", refuse)
        _check_duration(environment.expires_after, f"{place}.expires_after", refuse)
        _check_gates(environment.gates, f"{place}.gates", refuse)
        if environment.account is not None and not re.fullmatch(r"\d{12}", environment.account):
            refuse(f"{place}.account", "an AWS account id has 12 digits.")
        if environment.endpoint is not None:
            _check_endpoint(environment.endpoint, environment.name, f"{place}.endpoint", refuse)
            called = (environment.account, environment.endpoint.name.replace("{environment}", environment.name))
            if called in endpoints:
                refuse(
                    f"{place}.endpoint.name", "another environment's endpoints have these names: put {environment} in."
                )
            endpoints.add(called)
    if config.registry.account is not None and not re.fullmatch(r"\d{12}", config.registry.account):
        refuse("registry.account", "an AWS account id has 12 digits.")
    _check_networks(config, refuse)
    if config.cross_account:
        for field in ("account", "region"):
            if getattr(config.registry, field) is None:
                refuse(f"registry.{field}", "environments have accounts of their own: say which is the registry's.")
    region = config.artifacts.region or config.registry.region
    for place, found in (
        ("registry.region", config.registry.region),
        *((f"environments[{index}].region", each.region) for index, each in enumerate(config.environments)),
    ):
        if found is not None and found != region:
            refuse(
                place, f"SageMaker reads artifacts of its own region alone, and they are in {region or 'none named'}."
            )
    for pattern, override in config.groups_override.items():
        for name, changed in override.environments.items():
            place = f'groups_override."{pattern}".environments.{name}'
            if name not in seen:
                refuse(place, f"there is no environment {name!r}.")
            _check_addresses(changed.approvers or (), f"{place}.approvers", refuse)
            _check_gates(changed.gates or (), f"{place}.gates", refuse)
            if changed.expires_after is not None:
                _check_duration(changed.expires_after, f"{place}.expires_after", refuse)
    _check_addresses((config.mail.sender,), "mail.sender", refuse)
    # Without the time zone database, as in some functions, the name can't be checked; mails then have only UTC.
    zone = config.mail.time_zone
    if zone != "UTC" and (known := zoneinfo.available_timezones()) and zone not in known:
        refuse("mail.time_zone", "name a time zone as the IANA database does: Europe/Berlin, or UTC.")
    try:
        _ = config.mail.settles
    except Invalid as error:
        refuse("mail.settle", error.reason)
    if config.mail.reply_to is not None:
        _check_addresses((config.mail.reply_to,), "mail.reply_to", refuse)
    _check_transform(config.inference, refuse)
    loopback = re.match(r"http://(127\.0\.0\.1|localhost)(:\d+)?(/|$)", config.identity.issuer)
    if not config.identity.issuer.startswith("https://") and not loopback:
        refuse("identity.issuer", "an issuer is an https:// address.")
    _check_session_lifetime(config.identity.session_lifetime, refuse)
    identity.check(config, refuse)
    for index, window in enumerate(config.freeze):
        if window.start.tzinfo is None or window.end.tzinfo is None:
            refuse(f"freeze[{index}]", "give start and end a time zone, such as 2026-12-20T00:00:00Z.")
        if window.end <= window.start:
            refuse(f"freeze[{index}].end", "the window ends before it starts.")
        for name in window.environments:
            if name not in seen:
                refuse(f"freeze[{index}].environments", f"there is no environment {name!r}.")
    for name in config.retired:
        if name in seen:
            refuse("retired", f"{name!r} is an environment still; take it out of one of both.")
    _check_drift(config, refuse)
    for name, channel in config.channels.items():
        _check_channel(channel, name, refuse)
    if (config.web.domain_name is None) != (config.web.certificate_arn is None):
        refuse("web", "domain_name and certificate_arn go together.")
    _check_signing(config.signing, refuse)
    resources.check(config, refuse)


def _check_signing(signing: Signing, refuse: Refuse) -> None:
    known = {signing.key} if signing.key else set()
    for index, former in enumerate(signing.former):
        place = f"signing.former[{index}]"
        if former.key_id in known:
            refuse(f"{place}.key_id", f"{former.key_id} is there twice, or signs still.")
        known.add(former.key_id)
        if former.until.tzinfo is None:
            refuse(f"{place}.until", "give it a time zone, such as 2026-12-20T00:00:00Z.")
        if "-----BEGIN PUBLIC KEY-----" not in former.public_key:
            refuse(f"{place}.public_key", "this is no public key in PEM form; put its text here, not a file's name.")


def _check_networks(config: Config, refuse: Refuse) -> None:
    places = [(f"environments[{index}]", each) for index, each in enumerate(config.environments)]
    sections: list[tuple[str, Inference | Environment | Web]] = [
        ("inference", config.inference),
        ("web", config.web),
        *places,
    ]
    for place, section in sections:
        if bool(section.subnets) != bool(section.security_groups):
            missing = "security_groups" if section.subnets else "subnets"
            refuse(f"{place}.{missing}", "subnets and security_groups go together.")
    for place, environment in places:
        if environment.name in config.cross_account and config.inference.subnets and environment.subnets is None:
            refuse(
                f"{place}.subnets",
                "those under [advanced.inference] are in the registry's account, and this environment has its own: "
                "name its subnets, or none on purpose with [].",
            )


def _check_addresses(addresses: tuple[str, ...], place: str, refuse: Refuse) -> None:
    for address in addresses:
        if not _MAIL_ADDRESS.fullmatch(address):
            refuse(place, f"{address!r} is not a mail address.")
        local, _, domain = address.rpartition("@")
        if not local.isascii():
            # https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Destination.html
            refuse(place, f"{address!r}: SES takes ASCII alone before the @.")
        if not domain.isascii():
            refuse(place, f"{address!r}: SES takes a domain in punycode; write {local}@{_punycode(domain)}.")
        if not names.ADDRESS_PATTERN.fullmatch(address):
            refuse(place, f"{address!r} is not a mail address.")


def _punycode(domain: str) -> str:
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return "xn--…"


def _check_transform(inference: Inference, refuse: Refuse) -> None:
    """Refuse settings that CreateTransformJob or the container would reject at each run."""
    most = inference.max_payload_mb * inference.max_concurrent_transforms
    if most > MOST_PAYLOADS_MB:
        refuse(
            "inference.max_concurrent_transforms",
            f"times max_payload_mb it is {most} MB, and SageMaker takes at most {MOST_PAYLOADS_MB} together.",
        )
    _check_duration(inference.longest_transform, "inference.longest_transform", refuse)
    if duration(inference.longest_transform) > LONGEST_TRANSFORM:
        refuse("inference.longest_transform", "a machine waits for a transform job two days at most.")
    if inference.hyper_params:
        _check_hyper_params(inference.hyper_params, refuse)


def _check_hyper_params(text: str, refuse: Refuse) -> None:
    """Parse parameters like the container: as JSON, or as the Python literal that str(dict) writes."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict) or found is None:
            return
    refuse("inference.hyper_params", f"{text[:60]!r} is neither a JSON object nor a Python dict.")


def _check_duration(text: str, place: str, refuse: Refuse) -> None:
    try:
        duration(text)
    except Invalid as error:
        refuse(place, error.reason)


def _check_session_lifetime(text: str, refuse: Refuse) -> None:
    place = "identity.session_lifetime"
    try:
        if duration(text) > LONGEST_SESSION:
            refuse(place, "a session lasts at most 24h.")
    except Invalid as error:
        refuse(place, error.reason)


def _check_endpoint(endpoint: Endpoint, name: str, place: str, refuse: Refuse) -> None:
    known = {"{service}", "{environment}", "{group}"}
    parts = re.split(r"(\{\w*\})", endpoint.name)
    literals, fields = parts[::2], parts[1::2]
    if not set(fields) <= known or fields.count("{group}") != 1 or not re.fullmatch(r"[a-z0-9-]*", "".join(literals)):
        refuse(
            f"{place}.name",
            f"{endpoint.name!r} can't name endpoints: {{group}} once, {{service}} and {{environment}} as you like, and "
            "lower case letters, digits and hyphens.",
        )
    filled = endpoint.name.replace("{environment}", name).replace("{service}", "s" * LONGEST_SERVICE)
    if len(filled.replace("{group}", "")) > LONGEST_AROUND_GROUP or filled[-1] == "-":
        refuse(f"{place}.name", "leave room for the group's name, and end in no hyphen.")
    if not re.fullmatch(r"[a-z]", filled[:1]):
        # An IAM policy allows names with this beginning; a `*` at the start would allow every endpoint of the account.
        refuse(f"{place}.name", "begin with something of your own before {group}.")
    if not resources.INSTANCE_TYPE.fullmatch(endpoint.instance_type):
        refuse(f"{place}.instance_type", f"{endpoint.instance_type!r} is no instance type of SageMaker's.")
    if endpoint.inference_ami_version and not resources.AMI.fullmatch(endpoint.inference_ami_version):
        refuse(
            f"{place}.inference_ami_version", f"{endpoint.inference_ami_version!r} is no AMI version of SageMaker's."
        )


def _check_drift(config: Config, refuse: Refuse) -> None:
    known = config.environment_names
    for name in config.drift.environments:
        if name not in known:
            refuse("drift.environments", f"there is no environment {name!r}.")
    for index, monitor in enumerate(config.drift.monitors):
        place = f"drift.monitors[{index}]"
        if monitor.environment not in known:
            refuse(f"{place}.environment", f"there is no environment {monitor.environment!r}.")
        if not names.GROUP_PATTERN.fullmatch(monitor.group):
            refuse(f"{place}.group", f"{monitor.group!r} is no name of a model package group; a monitor watches one.")
    for pattern, retraining in config.drift.retraining.items():
        _check_retraining(retraining, f'drift.retraining."{pattern}"', refuse)


def _check_retraining(retraining: Retraining, place: str, refuse: Refuse) -> None:
    if not _PIPELINE.fullmatch(retraining.pipeline):
        refuse(f"{place}.pipeline", f"{retraining.pipeline!r} is no ARN of a SageMaker pipeline, in lower case.")
    if len(retraining.parameters) > MOST_PARAMETERS:
        refuse(f"{place}.parameters", f"SageMaker takes {MOST_PARAMETERS} parameters.")
    for name, value in retraining.parameters.items():
        try:
            asked = {field for _, field, _, _ in string.Formatter().parse(value) if field is not None}
        except ValueError as error:
            refuse(f"{place}.parameters.{name}", f"{value!r} can't be filled in: {error}.")
        if unknown := sorted(asked - set(FILLED_IN)):
            refuse(
                f"{place}.parameters.{name}",
                f"{{{unknown[0]}}} is nothing to fill in; there are {', '.join(FILLED_IN)}.",
            )
    _check_duration(retraining.again_after, f"{place}.again_after", refuse)


def _check_channel(channel: Channel, name: str, refuse: Refuse) -> None:
    place = f"channels.{name}"
    if not _CHANNEL.fullmatch(name):
        refuse(place, f"{name!r} can't name a channel: lower case letters, digits and hyphens, at most 32.")
    if (channel.topic is None) == (channel.webhook_secret is None):
        refuse(place, "a channel is either a topic or a webhook_secret.")
    if channel.topic is not None and (not _TOPIC.fullmatch(channel.topic) or channel.topic.endswith(".fifo")):
        refuse(f"{place}.topic", f"{channel.topic!r} is no ARN of a standard SNS topic.")
    if channel.webhook_secret is not None and not _SECRET.fullmatch(channel.webhook_secret):
        # The webhook's address is a secret, because it allows posting to the chat.
        refuse(f"{place}.webhook_secret", "this is the ARN of a secret with the webhook's address, not the address.")
    for kind in channel.events:
        if kind not in names.PUBLISHED:
            refuse(f"{place}.events", f"{kind!r} is no published event; there are {', '.join(names.PUBLISHED)}.")


def _check_gates(gates: tuple[Gate, ...], place: str, refuse: Refuse) -> None:
    for index, gate in enumerate(gates):
        others = (gate.largest_error_rate, gate.largest_drift, gate.licences, gate.requires)
        if (gate.metric is not None) + sum(other is not None for other in others) != 1:
            refuse(
                f"{place}[{index}]",
                "a gate judges one thing: metric, largest_error_rate, largest_drift, licences or requires.",
            )
        bounds = (gate.min, gate.max, gate.largest_regression, gate.min_samples)
        if gate.metric is not None and all(bound is None for bound in bounds):
            refuse(f"{place}[{index}]", "a metric wants a bound: min, max, largest_regression or min_samples.")
        if gate.metric is None and any(bound is not None for bound in bounds):
            refuse(
                f"{place}[{index}]", "min, max, largest_regression and min_samples are bounds on a metric: name which."
            )
        for name in ("min", "max", "largest_regression", "largest_drift"):
            # TOML allows inf and nan; a gate that always passes or always fails would be a mistake.
            if (bound := getattr(gate, name)) is not None and not math.isfinite(bound):
                refuse(f"{place}[{index}].{name}", "a bound is a finite number.")
        if gate.min is not None and gate.max is not None and gate.min > gate.max:
            refuse(f"{place}[{index}].min", "min is above max: nothing could pass.")
        if gate.licences is not None and not gate.licences:
            refuse(f"{place}[{index}].licences", "name at least one licence: nothing could pass.")
        _check_direction(gate, f"{place}[{index}]", refuse)


def _check_direction(gate: Gate, place: str, refuse: Refuse) -> None:
    """Refuse `lower_is_better` if it contradicts a gate's only bound, and `relative` without `largest_regression`."""
    if gate.largest_regression is None:
        if gate.relative:
            refuse(f"{place}.relative", "only largest_regression can be relative.")
        return
    only_max, only_min = gate.max is not None and gate.min is None, gate.min is not None and gate.max is None
    if only_max and not gate.lower_is_better:
        refuse(f"{place}.lower_is_better", "with max alone, lower is better: say lower_is_better = true.")
    if only_min and gate.lower_is_better:
        refuse(f"{place}.lower_is_better", "with min alone, higher is better: lower_is_better can't be true.")
