"""Construction of the stacks from `promotion.toml`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import cdk_nag
from aws_cdk import App, DefaultStackSynthesizer, Environment, Tags, Validations

from infra import bundle
from infra.accounts import CrossAccount
from infra.buses import BusStack, environment_bus, registry_bus
from infra.environment_stack import EnvironmentStack
from infra.stack import PromotionStack
from promotion import names
from promotion.config import advanced
from promotion.config import loading as config
from promotion.config.loading import Config
from promotion.config.resources import check_region
from promotion.errors import Invalid

ROOT = Path(__file__).resolve().parent.parent
# The variable in which the CDK command passes the context:
# https://github.com/aws/aws-cdk/blob/main/packages/aws-cdk-lib/cx-api
_CONTEXT = "CDK_CONTEXT_JSON"
# Characters that Parameter Store, a stack's name and IAM allow, without a wildcard.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
_RESERVED = re.compile(r"/?(aws|ssm)", re.IGNORECASE)
_PREFIX = re.compile(r"/[A-Za-z][A-Za-z0-9-]*(/[A-Za-z0-9-]+)*")


def assemble(*, kept: Mapping[str, str] | None = None) -> App:
    """Return the app for the configuration in effect, ready to synthesize.

    Context `bundle=false` omits the functions' code, to run them from source, and `bundle=host` builds it for this machine's
    Python, to deploy to an emulator that runs functions with it; neither builds the inference image. `nag=false` omits
    cdk-nag, `validate=true` adds the CDK's own validation (five seconds; the tests run it), and `prefix` overrides the
    Parameter Store prefix in PROMOTION_PREFIX.

    `kept` has the resources of `[advanced] ledger_table`, found by promotion/aws/kept.py, because this package doesn't
    call AWS.

    Raises:
        Invalid: the configuration can't be deployed; the error names the setting.
    """
    # Without the CDK command, cdk.json is not read, and other feature flags would give a different template.
    flags = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    given = json.loads(os.environ.get(_CONTEXT) or "{}")
    validated = str(given.get("validate")).lower() == "true"
    app = App(context=flags, builtin_cloud_formation_validation=validated)
    place = Path(os.environ.get(names.CONFIG) or ROOT / names.CONFIG_FILE)
    settings = config.load(place)
    prefix = app.node.try_get_context("prefix") or os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX
    _check(settings, str(place))
    if not _PREFIX.fullmatch(prefix):
        raise Invalid(names.PREFIX, f"{prefix!r} is no prefix such as /promotion or /team-a/promotion.")
    if _RESERVED.match(prefix):
        raise Invalid(names.PREFIX, f"{prefix!r}: Parameter Store keeps names that begin with aws or ssm for itself.")
    code = _code(app, place)
    far = CrossAccount(settings, prefix)
    env = _environment(settings)
    # Buses and their policies first, then the environments' accounts, because the accounts' rules target each other's
    # buses.
    buses = _buses(app, far)
    others = [
        EnvironmentStack(
            app,
            f"{names.installation(prefix)}-{name}",
            environment=name,
            far=far,
            env=Environment(account=account, region=settings.registry.region),
            synthesizer=DefaultStackSynthesizer(),
            description=f"SageMaker models approved for {name}.",
        )
        for name, account in settings.cross_account.items()
    ]
    service = PromotionStack(
        app,
        names.installation(prefix),
        settings=settings,
        prefix=prefix,
        code=code,
        kept=kept,
        image_root=ROOT if app.node.try_get_context("bundle") is None and settings.inference.image is None else None,
        env=env,
        synthesizer=DefaultStackSynthesizer(),
        description="Approves SageMaker models environment by environment.",
    )
    for other in others:
        service.add_stack_dependency(other)
        for bus in buses:
            other.add_stack_dependency(bus)
    if others:
        far.write(Path(app.outdir) / "policies")
    Tags.of(app).add("service", names.SERVICE)
    if not _switched_off(app, "nag"):
        Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    return app


def _buses(app: App, far: CrossAccount) -> list[BusStack]:
    """Return the stacks of the buses, if there are several accounts."""
    region, elsewhere = far.settings.registry.region, far.settings.cross_account
    if not elsewhere:
        return []
    home = registry_bus(
        app, far, env=Environment(account=far.account, region=region), synthesizer=DefaultStackSynthesizer()
    )
    there = [
        environment_bus(
            app, far, name, env=Environment(account=account, region=region), synthesizer=DefaultStackSynthesizer()
        )
        for name, account in elsewhere.items()
    ]
    return [home, *there]


def _code(app: App, config: Path) -> Path:
    if _switched_off(app, "bundle"):
        return ROOT / "infra" / "unbundled"
    return bundle.build(ROOT, config, for_host=app.node.try_get_context("bundle") == "host")


def _check(settings: Config, source: str) -> None:
    """Check settings that matter only in a deployment.

    Raises:
        Invalid: the configuration can't be deployed; the error names the setting.
    """

    def refuse(place: str, reason: str) -> NoReturn:
        raise Invalid(f"{source} {advanced.place(place, settings.environment_names)}", reason)

    here = os.environ.get("CDK_DEFAULT_REGION")
    for place, region in (("artifacts", settings.artifacts.region), ("registry", settings.registry.region)):
        if here and region and region != here:
            refuse(f"{place}.region", f"it says {region}, and these credentials deploy into {here}.")
    if here:
        check_region(settings, here, refuse)
    if settings.cross_account and not settings.artifacts.buckets:
        refuse("artifacts.buckets", "other accounts must be let into them: name them.")


def _environment(settings: Config) -> Environment | None:
    """Return the target account and region, if they are configured."""
    region = settings.registry.region or settings.artifacts.region
    if settings.registry.account is None and region is None:
        return None
    return Environment(account=settings.registry.account, region=region)


def _switched_off(app: App, key: str) -> bool:
    return str(app.node.try_get_context(key)).lower() in ("false", "0")
