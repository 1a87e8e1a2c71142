"""`python -m local`: the service on 127.0.0.1 until Ctrl-C."""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from local import signals, synth
from local.config_overrides import in_effect, write
from local.host import Host, Options
from local.identity_provider import IdentityProviderFailed
from local.ports import PortInUse, PortInvalid, Ports
from local.synth import SynthFailed
from local.template import TemplateError
from local.welcome import welcome
from promotion import names
from promotion.errors import Invalid

ROOT = Path(__file__).resolve().parent.parent
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OFF = {"0", "false", "no", "off"}


class _Ended(BaseException):
    """A signal requested the end of the service."""


def _end(*_: object) -> None:
    raise _Ended


def main() -> int:
    options = _arguments()
    started = time.monotonic()
    home: Path = options.home
    home.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        filename=home / "local.log",
        filemode="w",
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for chatty in ("botocore", "boto3", "werkzeug", "urllib3", "moto"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1, file=(home / "stacks.log").open("w"))
    for ending in _ENDINGS:
        signal.signal(ending, _end)
    host: Host | None = None
    try:
        ports = Ports.of_environment(os.environ)
        ports.check_free()
        config = in_effect(options.config)
        if options.template is not None:
            template = json.loads(options.template.read_text(encoding="utf-8"))
        else:
            _say("Synthesizing the template …")
            template = synthesized(config, home)
        shutil.rmtree(home / "logs", ignore_errors=True)
        inference = os.environ.get("LOCAL_INFERENCE", "1").lower() not in _OFF
        host = Host(Options(ports, home, config, template, inference))
        _say("Starting AWS, the identity provider and the functions …")
        host.start()
        # A second service must not overwrite the first one's key; its own is named by PROMOTION_PUBLIC_KEY, which is
        # printed.
        if not options.private and ports == Ports():
            _publish_key(host.public_key)
        _say(welcome(ports, home, time.monotonic() - started))
        signals.wait()
    except _Ended:
        return 0
    except (
        PortInUse,
        PortInvalid,
        Invalid,
        SynthFailed,
        TemplateError,
        IdentityProviderFailed,
        PermissionError,
    ) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    finally:
        # A second Ctrl-C must not interrupt the shutdown.
        for ending in _ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        if host is not None:
            host.stop()
            _say("Stopped.")


def synthesized(config: Path, home: Path) -> dict[str, object]:
    """Return the template for `config`, with default ports, which don't affect it, so that it can be cached."""
    plain = home / "synth.toml"
    write(config, plain, issuer=Ports().idp_url)
    return synth.template(plain)


def _publish_key(pem: str) -> None:
    """Write the public key where `promotion resolve` finds it."""
    target = Path(sys.prefix) / "etc" / names.SERVICE / names.PUBLIC_KEY_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(pem)


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description="The deployed service, on this machine.")
    parser.add_argument(
        "--config", type=Path, help="a promotion.toml (default: PROMOTION_CONFIG, else the repository's)"
    )
    parser.add_argument("--home", type=Path, help="folder for logs and the public key (default: build/local)")
    parser.add_argument("--template", type=Path, help="a synthesized template, instead of synthesizing one")
    parser.add_argument(
        "--private", action="store_true", help="do not write the public key into this Python environment"
    )
    options = parser.parse_args()
    options.home = (options.home or default_home(os.environ)).resolve()
    return options


def default_home(environ: Mapping[str, str]) -> Path:
    """Return a folder by port, so that two services on one checkout have separate keys and logs."""
    port = environ.get("PORT", "")
    return ROOT / "build" / ("local" if port in ("", str(Ports.http)) else f"local-{port}")


if __name__ == "__main__":
    sys.exit(main())
