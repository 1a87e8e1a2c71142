"""Subcommands of `promotion`: their options, and the function that runs each.

Each function imports its module itself, so that a command loads only what it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import metadata

from promotion.cli import looking
from promotion.cli.parsing import Misused, Parser, common_options

DISTRIBUTION = "model-promotion"
_REASON = "recorded in the history, and mailed"
_PUBLIC_KEY = "file of the signing key (default: PROMOTION_PUBLIC_KEY, promotion.pub)"


def command_parser() -> Parser:
    parser = Parser(
        prog="promotion",
        description="Approval and promotion of models, from a shell.",
        parents=[common_options(suppressed=False)],
        epilog="promotion COMMAND --help has more. `promotion completion --help` describes tab completion.",
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = common_options(suppressed=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(run=run)
        return made

    found = command("resolve", _resolve, "print the model approved for an environment, after verifying its signature")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("environment", metavar="ENV")
    found.add_argument(
        "--artifact", action="store_true", help="read the artifact too, and compare its bytes with the approval"
    )
    found.add_argument(
        "--by-version",
        action="store_true",
        help="read the approved object version, if you download the artifact by its version id",
    )
    found.add_argument(
        "--minimum-sequence", type=_positive, metavar="N", default=0, help="refuse a record of an earlier event"
    )
    found.add_argument(
        "--remember", metavar="FILE", help="store the event's number in a file, and refuse a record of an earlier event"
    )
    found.add_argument("--public-key", metavar="PEM", help=_PUBLIC_KEY)

    found = command("status", _status, "list live versions and pending requests")
    found.add_argument("group", metavar="GROUP", nargs="?")

    found = command("history", _history, "list the events of a group's models")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("--version", type=_positive, metavar="N", help="of one version only")
    found.add_argument("--csv", action="store_true", help="as comma-separated values")

    found = command(
        "gates", _gates, "evaluate the quality gates for a version, or for a metrics file before it is registered"
    )
    found.usage = "promotion gates explain [options] GROUP [VERSION] ENV"
    found.add_argument("what", choices=["explain"])
    found.add_argument("place", nargs="+", metavar="GROUP [VERSION] ENV", help="no VERSION with --metrics")
    found.add_argument("--metrics", metavar="FILE", help="judge this file instead; needs no access to AWS")
    found.add_argument("--live", metavar="FILE", help="with --metrics: the metrics of the live version in ENV")
    found.add_argument(
        "--licence", metavar="NAME", default="", help="with --metrics: the licence of the later registration"
    )
    found.add_argument(
        "--attached", action="append", default=[], choices=["model_card", "report"], help="with --metrics"
    )

    found = command("rollback", _rollback, "roll an environment back to a version that was live there")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("environment", metavar="ENV")
    found.add_argument("--to-version", type=_positive, metavar="N", help="default: the last good one")
    found.add_argument("--reason", required=True, metavar="T", help=_REASON)

    found = command("revoke", _revoke, "remove a version from every environment at once, for good")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("version", type=_positive, metavar="VERSION")
    found.add_argument("--reason", required=True, metavar="T", help=_REASON)

    found = command("verify", _verify, "check registry, Parameter Store and ledger integrity")
    found.add_argument("group", metavar="GROUP", nargs="?")
    found.add_argument("--repair", action="store_true", help="correct registry and parameters; never the ledger")

    found = command("rebuild", _rebuild, "rewrite the registry and Parameter Store from the ledger")
    found.add_argument("group", metavar="GROUP", nargs="?")
    found.add_argument("--states", action="store_true", help="fold the ledger's states again, after an upgrade")

    command("redrive", _redrive, "retry the messages in the dead-letter queues")

    found = command("export", _export, "export one decision as a file that an auditor checks offline")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("request_id", metavar="REQUEST_ID")
    found.add_argument("--output", metavar="FILE", help="default: standard output")
    found.add_argument("--html", action="store_true", help="a readable record with every signature and its events")

    found = command("check-bundle", _check_bundle, "check an exported file or attestation, with only the public key")
    found.add_argument("file", metavar="FILE")
    found.add_argument("--public-key", metavar="PEM", help=_PUBLIC_KEY)

    found = command("attest", _attest, "print the signed in-toto attestation of a promotion, for other tools")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("version", type=_positive, metavar="VERSION")
    found.add_argument("environment", metavar="ENV")
    found.add_argument("--output", metavar="FILE", help="default: standard output")
    found.add_argument("--model-signature", metavar="FILE", help="write the OpenSSF model signature there")

    found = command("doctor", _doctor, "check an account and a deployment for everything that the service needs")
    found.add_argument("--mail", metavar="ADDRESS", help="send a test mail there")
    found.add_argument("--write-key", action="store_true", help="write the signing key's public half to promotion.pub")
    found.add_argument("--sign-in", action="store_true", help="sign in once, and show the token's claims")
    found.add_argument("--callback", metavar="URL", help="the redirect URI to sign in with (default: the deployment's)")

    found = command("endpoint", _endpoint, "show, remove or restore a real-time endpoint")
    found.add_argument("action", choices=["status", "remove", "restore"], metavar="status|remove|restore")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("environment", metavar="ENV")
    found.add_argument("--reason", metavar="T", help=f"{_REASON}; required, except with status")

    found = command("ask", _ask, "request approval of a version, also of one older than the service")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("version", type=_positive, metavar="VERSION")
    found.add_argument("--reason", default="Asked for by hand.", metavar="T", help="for the approvers and the history")

    found = command("adopt", _adopt, "record a version that was live before the service was installed")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("environment", metavar="ENV")
    found.add_argument("version", type=_positive, metavar="VERSION")
    found.add_argument("--reason", required=True, metavar="T", help="recorded in the history")

    looking.add(command, _positive)
    found = command("report", _report, "report your own evaluation of a version instead of an inference run")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("environment", metavar="ENV")
    found.add_argument("version", type=_positive, metavar="VERSION")
    found.add_argument("--metrics", required=True, metavar="FILE", help="metrics, as JSON")
    found.add_argument("--picture", action="append", default=[], metavar="FILE", help="a PNG to show; repeatable")

    found = command("completion", _completion, "print a script for tab completion in your shell")
    found.add_argument("shell", choices=["bash", "zsh"], metavar="bash|zsh")
    return parser


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed: run from source"


def _completion(options: argparse.Namespace) -> int:
    from promotion.cli import completion

    print(completion.script(command_parser(), options.shell))
    return 0


def _resolve(options: argparse.Namespace) -> int:
    from promotion.cli import resolving

    return resolving.run(options)


def _status(options: argparse.Namespace) -> int:
    from promotion.cli import reading

    return reading.status(options.group, as_json=options.json)


def _history(options: argparse.Namespace) -> int:
    from promotion.cli import reading

    return reading.history(options.group, options.version, as_json=options.json, as_csv=options.csv)


def _gates(options: argparse.Namespace) -> int:
    from promotion.cli import gating

    place = options.place
    if options.metrics is not None:
        if len(place) != 2:
            raise Misused("gates explain", "with --metrics, name a GROUP and an ENV.")
        group, environment = place
        return gating.explain_file(
            group,
            environment,
            options.metrics,
            options.live,
            licence=options.licence,
            attached=options.attached,
            as_json=options.json,
        )
    if options.live is not None or options.licence or options.attached:
        raise Misused("gates explain", "--live, --licence and --attached go with --metrics.")
    if len(place) != 3 or not place[1].isdecimal():
        raise Misused("gates explain", "name a GROUP, a VERSION and an ENV; or judge a file with --metrics.")
    return gating.explain_version(place[0], int(place[1]), place[2], as_json=options.json)


def _rollback(options: argparse.Namespace) -> int:
    from promotion.cli import operating

    given = {"group": options.group, "environment": options.environment, "reason": options.reason}
    if options.to_version is not None:
        given["to_version"] = str(options.to_version)
    return operating.operate("rollback", given, as_json=options.json)


def _revoke(options: argparse.Namespace) -> int:
    from promotion.cli import operating

    given = {"group": options.group, "version": str(options.version), "reason": options.reason}
    return operating.operate("revoke", given, as_json=options.json)


def _ask(options: argparse.Namespace) -> int:
    from promotion.cli import operating

    return operating.ask(options.group, options.version, options.reason, as_json=options.json)


def _adopt(options: argparse.Namespace) -> int:
    from promotion.cli import operating

    return operating.adopt(options.group, options.environment, options.version, options.reason, as_json=options.json)


def _report(options: argparse.Namespace) -> int:
    from promotion.cli import operating

    where = (options.group, options.environment, options.version)
    return operating.report(*where, options.metrics, options.picture, as_json=options.json)


def _endpoint(options: argparse.Namespace) -> int:
    from promotion.cli import endpoint_command, operating

    if options.action == "status":
        return endpoint_command.status(options.group, options.environment, as_json=options.json)
    if not options.reason:
        raise Misused("--reason", "say why, in a sentence.")
    given = {"group": options.group, "environment": options.environment, "reason": options.reason}
    return operating.operate(f"endpoint_{options.action}", given, as_json=options.json)


def _verify(options: argparse.Namespace) -> int:
    from promotion.cli import checking

    return checking.verify(options.group, repair=options.repair, as_json=options.json)


def _rebuild(options: argparse.Namespace) -> int:
    from promotion.cli import checking

    if options.states:
        return checking.refold(options.group)
    return checking.rebuild(options.group)


def _redrive(options: argparse.Namespace) -> int:
    from promotion.cli import checking

    return checking.redrive()


def _export(options: argparse.Namespace) -> int:
    from promotion.cli import auditing

    return auditing.export(options.group, options.request_id, options.output, as_html=options.html)


def _attest(options: argparse.Namespace) -> int:
    from promotion.cli import auditing

    return auditing.attest(options.group, options.version, options.environment, options.output, options.model_signature)


def _check_bundle(options: argparse.Namespace) -> int:
    from promotion.cli import auditing

    return auditing.check_bundle(options.file, options.public_key)


def _doctor(options: argparse.Namespace) -> int:
    from promotion.cli import doctor

    signing_in = doctor.SignIn(callback=options.callback) if options.sign_in else None
    return doctor.doctor(mail=options.mail, writing_key=options.write_key, signing_in=signing_in, as_json=options.json)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version number.")
    return int(text)
