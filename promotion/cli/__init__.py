"""The command `promotion`.

Exit codes: 0 done, 1 error or (verify) differences, 2 usage, 3 nothing approved, 4 integrity check failed, 5 refused.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from promotion import names
from promotion.cli.commands import DISTRIBUTION, command_parser
from promotion.cli.missing import named
from promotion.cli.parsing import Misused
from promotion.errors import IntegrityError, Invalid, NotApproved, PromotionError, Refused
from promotion.formatting import readable

TROUBLE, USAGE, NOTHING_APPROVED, BROKEN, REFUSED = 1, 2, 3, 4, 5
LONGEST_ERROR = 4000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = command_parser()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        code = _run(parser.parse_args(given))
        # Flush here, where a closed pipe is handled, rather than at the interpreter's exit.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Discard the rest of the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(options: argparse.Namespace) -> int:
    _settle(options)
    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except Refused as error:
        return _fail(options, REFUSED, error)
    except NotApproved as error:
        return _fail(options, NOTHING_APPROVED, error)
    except IntegrityError as error:
        return _fail(options, BROKEN, error)
    except Misused as error:
        return _fail(options, USAGE, error)
    except PromotionError as error:
        return _fail(options, TROUBLE, error)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "promotion":
            raise
        text = f"this command needs {error.name}, which is not installed: pip install '{DISTRIBUTION}[cli]'"
        return _fail(options, TROUBLE, PromotionError(text))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # AWS's own messages are specific, and a trace would hide them. PROMOTION_DEBUG=1 shows it.
        if os.environ.get("PROMOTION_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename} can't be opened: {error.strerror}."
            return _fail(options, TROUBLE, Invalid("FILE", text))
        if type(error).__module__.partition(".")[0] not in ("botocore", "boto3", "requests", "urllib3"):
            raise
        return _fail(options, TROUBLE, named(error))


def _settle(options: argparse.Namespace) -> None:
    """Set the variables of boto3 and the configuration from the common options."""
    if options.config:
        os.environ[names.CONFIG] = options.config
    if options.region:
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = options.region
    elif os.environ.get("AWS_REGION"):
        # AWS has two variables for the region; boto3 reads only AWS_DEFAULT_REGION.
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    if options.profile:
        # As in AWS's own command line: a named profile has priority over keys in the environment.
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        os.environ["AWS_PROFILE"] = options.profile


def _fail(options: argparse.Namespace, code: int, error: Exception) -> int:
    if options.json:
        said: dict[str, object] = {"error": getattr(error, "code", "") or type(error).__name__, "message": str(error)}
        if isinstance(error, Invalid) and error.field:
            said["field"] = error.field
        print(json.dumps(said, indent=2, default=str))
    else:
        # The message may quote untrusted text, which must not contain control characters for the terminal.
        print(f"promotion: {readable(str(error), LONGEST_ERROR)[0]}", file=sys.stderr)
        if who := getattr(error, "who_may", ""):
            print(f"           {who}", file=sys.stderr)
    return code
