"""Real-time endpoints on one machine: each has a server process; an update starts a new one beside the old one."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from moto.cloudwatch.models import cloudwatch_backends
from moto.sagemaker.models import sagemaker_backends

from local import ACCOUNT, REGION
from local.aws.access import Denied
from local.children import Children
from local.jobs.container import JobFailed, Storage, command_for, containers_of, ended, images_of, start
from local.jobs.transform import ask, fetch_model
from local.moto_patches import events
from local.moto_patches import sagemaker_endpoints as mended
from local.moto_patches.sagemaker_endpoints import Endpoint
from local.ports import Held
from promotion import names

log = logging.getLogger("local.endpoints")
_POLL_SECONDS = 0.05
# Seconds instead of the minutes for which SageMaker monitors a new fleet.
_BAKE_SECONDS = 0.5
_DEFAULT_HEALTH_SECONDS = 600


@dataclass(frozen=True)
class Server:
    """A serving container: its process, port and log."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    log: Path


class EndpointHost:
    """Deploy endpoints when they are created and updated, with the permissions of the models' execution roles."""

    def __init__(self, aws_url: str, home: Path, children: Children) -> None:
        self._aws_url = aws_url
        self._home = home
        self._children = children
        self._serving: dict[str, Server] = {}
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="endpoint")
        self._stopping = threading.Event()
        mended.runners[:] = [self]

    def stop(self) -> None:
        mended.runners.clear()
        self._stopping.set()
        self._workers.shutdown(wait=True, cancel_futures=True)
        for server in self._serving.values():
            self._children.stop(server.process, grace_seconds=0)
        self._serving.clear()

    def port_of(self, endpoint: str) -> int | None:
        """Return the port of an endpoint's container; None if none is running."""
        server = self._serving.get(endpoint)
        return server.port if server is not None and server.process.poll() is None else None

    def variant_of(self, endpoint: str) -> str:
        """Return the name of an endpoint's variant."""
        kept = sagemaker_backends[ACCOUNT][REGION].endpoints.get(endpoint)
        return str(kept.production_variants[0]["VariantName"]) if kept is not None else ""

    def deploy(self, endpoint: Endpoint, config_name: str) -> None:
        self._tell(endpoint)
        self._workers.submit(self._deploy, endpoint, config_name)

    def withdraw(self, endpoint: Endpoint) -> None:
        self._tell(endpoint)
        self._workers.submit(self._withdraw, endpoint)

    def _deploy(self, endpoint: Endpoint, config_name: str) -> None:
        before = self._serving.get(endpoint.name)
        try:
            server = self._started(config_name)
        except (JobFailed, PermissionError) as failed:
            endpoint.fail(str(failed), back=before is not None)
        except (ClientError, BotoCoreError, Denied) as failed:
            endpoint.fail(f"ClientError: {failed}", back=before is not None)
        except Exception as failed:
            log.exception("endpoint %s broke", endpoint.name)
            endpoint.fail(f"InternalServerError: {failed}", back=before is not None)
        else:
            self._take_over(endpoint, config_name, server, before)
        log.info("endpoint %s: %s with %s", endpoint.name, endpoint.status, config_name)
        self._tell(endpoint)

    def _take_over(self, endpoint: Endpoint, config_name: str, server: Server, before: Server | None) -> None:
        """Send all requests to the new container; roll back to the old one if an alarm goes off meanwhile."""
        self._serving[endpoint.name] = server
        if before is None:
            endpoint.in_service(config_name)
            return
        alarm = self._gone_off(endpoint.alarms)
        if alarm is None:
            endpoint.in_service(config_name)
            self._end(before)
            return
        self._serving[endpoint.name] = before
        endpoint.fail(f"The alarm {alarm} went off, and the deployment was rolled back.", back=True)
        self._end(server)

    def _gone_off(self, alarms: list[str]) -> str | None:
        """Return the first alarm that goes off in the short bake time; here, only `set-alarm-state` sets alarms off."""
        deadline = time.monotonic() + _BAKE_SECONDS
        known = cloudwatch_backends[ACCOUNT][REGION].alarms
        while True:
            for name in alarms:
                if name in known and known[name].state_value == "ALARM":
                    return name
            if time.monotonic() > deadline or self._stopping.wait(_POLL_SECONDS):
                return None

    def _withdraw(self, endpoint: Endpoint) -> None:
        server = self._serving.pop(endpoint.name, None)
        if server is not None:
            self._end(server)
        endpoint.gone()
        log.info("endpoint %s is gone", endpoint.name)
        self._tell(endpoint)

    def _started(self, config_name: str) -> Server:
        """Start the container of a configuration's model, and return it once it is healthy.

        Raises:
            JobFailed: it ended, or was not healthy in time; the message has the end of its output.
        """
        backend = sagemaker_backends[ACCOUNT][REGION]
        [variant] = backend.endpoint_configs[config_name].production_variants
        model = backend._models[variant["ModelName"]]
        container, *others = containers_of(model)
        if others:
            raise JobFailed("ClientError: an endpoint here serves one container; a pipeline runs in batch jobs.")
        folder = self._home / re.sub(r"[^A-Za-z0-9.-]", "-", config_name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        images = images_of([container])
        storage = Storage(self._aws_url, model.execution_role_arn, config_name, images, "Endpoints")
        fetch_model(container, storage, folder / "model")
        log_file = folder / "container.log"
        patience = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", _DEFAULT_HEALTH_SECONDS)
        with Held() as held:
            environment = {
                **(container.get("Environment") or {}),
                "SAGEMAKER_BIND_TO_PORT": str(held.number),
                "SM_MODEL_DIR": str(folder / "model"),
                "HOST": "127.0.0.1",
            }
            process = start(command_for(container), environment, storage, log_file, self._children)
            server = Server(process, held.number, folder, log_file)
            try:
                self._wait_until_healthy(server, patience)
            except BaseException:
                self._end(server)
                raise
        return server

    def _wait_until_healthy(self, server: Server, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            if server.process.poll() is not None:
                # SageMaker would restart it until the time limit; here a restart would have the same result.
                raise ended(server.process, server.log)
            try:
                if ask(server.port, "GET", "/ping", timeout=2)[0] == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise JobFailed(f"The primary container did not pass the ping health check within {patience} s.")
            if self._stopping.wait(_POLL_SECONDS):
                raise JobFailed("The local service was stopped.")

    def _end(self, server: Server) -> None:
        self._children.stop(server.process, grace_seconds=5)
        shutil.rmtree(server.folder / "model", ignore_errors=True)

    def _tell(self, endpoint: Endpoint) -> None:
        if not self._stopping.is_set():
            events.publish(names.SAGEMAKER_SOURCE, names.ENDPOINT_STATE_CHANGES[0], endpoint.detail(), [endpoint.arn])
