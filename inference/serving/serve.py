"""The container's side of SageMaker's hosting and batch transform contract, on one port.

One thread owns the model from its loading on; the event loop stands between it and the clients (inference/serving).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Mapping

import uvicorn

from inference.decoders.task import TextGeneration
from inference.serving import ModelHost
from inference.serving.app import App
from inference.serving.batcher import Batcher
from inference.serving.connections import DRAIN_SECONDS, Connection, Server
from inference.serving.meter import Meter
from inference.serving.settings import Hosting
from inference.serving.steps import StepHost
from inference.tasks.pipeline import Pipeline
from promotion.errors import IntegrityError, Invalid, PromotionError

_END_SECONDS = 3
# Connections that wait to be taken, so that a burst of clients isn't turned away by the kernel.
_BACKLOG = 4_096

EXIT_TROUBLE, EXIT_USAGE, EXIT_INTEGRITY = 1, 2, 4

log = logging.getLogger("inference")


class Model:
    """The thread that owns the model; `exit_code` is set if it could not be loaded, or died."""

    def __init__(self, load: Callable[[], Pipeline], hosting: Hosting, meter: Meter) -> None:
        """Prepare a model that is loaded on a thread of its own.

        Args:
            load: Loads the pipeline.
            hosting: Limits and time-outs.
            meter: Counters for /metrics.
        """
        self._load, self._hosting, self._meter = load, hosting, meter
        self.pipeline: Pipeline | None = None
        self.host: ModelHost | None = None
        self.exit_code = 0
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self, *, ready: Callable[[], None], ended: Callable[[], None]) -> None:
        """Load and then answer; `ended` where that is over before it was stopped."""

        def work() -> None:
            self.prepare()
            if self.host is not None:
                ready()
                self._serve(self.host)
            ended()

        # Abandoned if it does not end in time: a drained server must not wait for a text that is not read.
        self._thread = threading.Thread(target=work, name="model", daemon=True)
        self._thread.start()

    def prepare(self) -> None:
        """Load, once, on the thread that will answer."""
        try:
            pipeline = self._load()
        except IntegrityError as error:
            log.error("refused: %s", error)
            self.exit_code = EXIT_INTEGRITY
        except Invalid as error:
            log.error("%s", error)
            self.exit_code = EXIT_USAGE
        except PromotionError as error:
            log.error("%s", error)
            self.exit_code = EXIT_TROUBLE
        except Exception:
            log.exception("the model does not load")
            self.exit_code = EXIT_TROUBLE
        else:
            self.host = host_of(pipeline, self._hosting, self._meter)
            self.pipeline = pipeline

    def give_up(self) -> None:
        """Answer all waiting requests that the server is being stopped."""
        if self.host is not None:
            self._stopped = True
            self.host.stop()

    def stop(self) -> None:
        """Stop answering; running requests get an error."""
        self._stopped = True
        if self.host is not None:
            self.host.stop()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _serve(self, host: ModelHost) -> None:
        try:
            host.run()
        except Exception:
            log.exception("the model's thread died")
        if not self._stopped:
            self.exit_code = EXIT_TROUBLE
            host.stop()


def host_of(pipeline: Pipeline, hosting: Hosting, meter: Meter) -> ModelHost:
    """Return the host that suits the pipeline's task."""
    task = pipeline.task
    if isinstance(task, TextGeneration):
        return StepHost(task, meter)
    return Batcher(
        task, meter, delay_ms=hosting.batch_delay_ms, tokens=hosting.batch_tokens, whole=hosting.whole_payloads
    )


def serve(load: Callable[[], Pipeline], *, host: str, port: int, environment: Mapping[str, str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then finish begun requests. Returns the process's exit code.

    Raises:
        Invalid: a variable of the environment can't be read.
    """
    hosting, meter = Hosting.of(os.environ if environment is None else environment), Meter()
    _allow_connections()
    model = Model(load, hosting, meter)
    app = App(model, hosting, meter)
    config = uvicorn.Config(
        app.routes(),
        http=Connection,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=75,
    )
    server = Server(config, closing=app.close, overdue=model.give_up)
    # uvicorn raises the signal again once it has drained; a drained server has ended well.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}

    def ended() -> None:
        server.should_exit = True

    model.start(ready=lambda: log.info("ready on %s:%d", host, port), ended=ended)
    try:
        server.run()
    except SystemExit:
        # uvicorn's way to say that the port is taken; it has logged it.
        log.error("can't serve on %s:%d", host, port)
        return EXIT_TROUBLE
    finally:
        model.stop()
        server.ended()
        for number, handler in before.items():
            signal.signal(number, handler)
    return model.exit_code


def _allow_connections() -> None:
    """Raise the limit of open files to the maximum: the usual 1,024 are fewer than waiting clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard)
        )
