"""The process with moto and its proxy, the HTTP API, the event sources and the scheduler."""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.core.config import default_user_config

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, IMAGE, MODELS_BUCKET, REGION, config_overrides, moto_patches
from local.aws import front as aws_front
from local.aws.callers import service_session
from local.aws.front import Front
from local.aws.invoke import InvokeApi
from local.aws.runtime import RuntimeApi
from local.beginning import Beginning
from local.children import Children
from local.clients import any_client
from local.clock import Clock
from local.deployment import Deployment
from local.http_api import HttpApi
from local.identity_provider import CLIENT_ID, IdentityProvider
from local.jobs.endpoint_servers import EndpointHost
from local.jobs.engine import JobEngine
from local.jobs.model_monitor import MonitoringScheduler
from local.jobs.pipelines import PipelineExecutor
from local.mailbox import Mailbox
from local.moto_patches import events, jobs, pages, sagemaker, stepfunctions
from local.own_pages import OwnPages
from local.own_provider import OwnProvider
from local.ports import Ports
from local.provision import functions, identity, storage, wiring  # noqa: F401 each registers what it can make
from local.provision.builder import Builder, build
from local.runtime.function import Place
from local.sources.bus import Bus
from local.sources.queues import QueueReader
from local.sources.schedules import Scheduler
from local.sources.streams import StreamReader
from local.template import Template
from promotion import names

ROOT = Path(__file__).resolve().parent.parent
_SENDS = ("SendMessage", "SendMessageBatch")
_WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")


@dataclass(frozen=True)
class Options:
    """Options of the local service."""

    ports: Ports
    home: Path
    config: Path
    template: Mapping[str, Any]
    inference: bool = True


class Host:
    """The whole local service: `start` and `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.children = Children()
        self.clock = Clock(options.home / "clock")
        self.mailbox = Mailbox()
        self.deployment = Deployment()
        self.public_key = ""
        self._front = Front()
        self._stopping = threading.Event()
        self._streams: list[StreamReader] = []
        self._queues: list[QueueReader] = []
        self._bus: Bus | None = None
        self._http: HttpApi | None = None
        self._aws: Any = None
        self._idp: IdentityProvider | None = None
        self._endpoints: EndpointHost | None = None
        self._jobs: JobEngine | None = None
        self._pipelines: PipelineExecutor | None = None

    def start(self) -> None:
        """Start the service; on return the three ports answer.

        Raises:
            TemplateError: the template contains something that can't be made here.
            IdentityProviderFailed: Node or the provider is missing or broken.
        """
        ports, home = self.options.ports, self.options.home
        client_secret = self._start_provider()
        task_root = self._task_root()
        self._start_aws()
        place = Place(task_root, home / "logs", self.clock.file, ports.aws_url, self._function_credentials)
        template = Template(self.options.template)
        build(Builder(template, self.deployment, place, self.children, ports.http_url))
        self._fill_in(client_secret)
        # As if `cdk bootstrap` had run.
        self.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
        self._start_sources()
        own = OwnPages(self.mailbox, self.clock, Beginning(ports, home, self.client))
        self._http = HttpApi(self.deployment, own.answer, lambda: trouble(ports.aws_url, self._idp))
        self._http.start(ports.http)
        if self._idp is not None:
            self._idp.wait_ready()
        self._warm()

    def _start_provider(self) -> str:
        """Write the configuration, start the local identity provider if none is set, and return the client secret."""
        ports, home = self.options.ports, self.options.home
        target = home / names.CONFIG_FILE
        own = OwnProvider.of(os.environ)
        used = own or OwnProvider(ports.idp_url, CLIENT_ID, secrets.token_urlsafe(32))
        config = config_overrides.write(self.options.config, target, issuer=used.issuer, client_id=used.client_id)
        if own is None:
            self._idp = IdentityProvider(
                ports, config, used.client_secret, self.children, home / "logs" / "identity-provider.log"
            )
            self.clock.on_change(self._idp.follow)
        return used.client_secret

    def stop(self) -> None:
        """Close the ports and end every process."""
        self._stopping.set()
        for function in self.deployment.functions.values():
            function.stop()
        if self._http is not None:
            self._http.stop()
        if self._pipelines is not None:
            self._pipelines.stop()
        if self._endpoints is not None:
            self._endpoints.stop()
        if self._jobs is not None:
            self._jobs.stop()
        if self._bus is not None:
            self._bus.stop()
        if self._aws is not None:
            self._aws.shutdown()
            self._aws.server_close()
        self.children.stop_all()
        self.clock.stop()

    def client(self, service: str) -> Any:
        return any_client(
            service,
            endpoint_url=self.options.ports.aws_url,
            region_name=REGION,
            aws_access_key_id=ADMINISTRATOR_KEY,
            aws_secret_access_key=ADMINISTRATOR_SECRET,
        )

    def _start_aws(self) -> None:
        ports = self.options.ports
        os.environ["MOTO_PORT"] = str(ports.aws)
        default_user_config["stepfunctions"]["execute_state_machine"] = True
        default_user_config["lambda"]["use_docker"] = False
        moto_patches.apply()
        pages.first_is_empty[:] = [True]
        stepfunctions.endpoint[:] = [ports.aws_url]
        self._bus = Bus(self.deployment, ports.aws_url, self._wake_queues, start_machines=self.options.inference)
        events.deliver[:] = [self._bus.deliver]
        sagemaker.listeners[:] = [_announce]
        jobs.listeners[:] = [_announce_job]
        self._jobs = JobEngine(ports.aws_url, self.options.home / "jobs", self.children)
        self._pipelines = PipelineExecutor(ports.aws_url)
        self._front.handlers |= InvokeApi(self.deployment, self._wake_queues).handlers()
        self._endpoints = EndpointHost(ports.aws_url, self.options.home / "endpoints", self.children)
        self._front.handlers |= RuntimeApi(self._endpoints.port_of, self._endpoints.variant_of).handlers()
        for operation in ("SendEmail", "SendRawEmail"):
            self._front.after["ses", operation].append(self.mailbox.take_new)
        for operation in _WRITES:
            self._front.after["dynamodb", operation].append(self._wake_streams)
        for operation in _SENDS:
            self._front.after["sqs", operation].append(self._wake_queues)
        self._aws = aws_front.serve(self._front, ports.aws)

    def _start_sources(self) -> None:
        assert self._bus is not None
        for source in self.deployment.event_sources:
            function = self.deployment.functions[source.function_arn]
            if ":dynamodb:" in source.source_arn:
                self._streams.append(StreamReader(source, function, self.options.ports.aws_url, self._stopping))
            else:
                self._queues.append(QueueReader(source, function, self.options.ports.aws_url, self._stopping))
        for stream in self._streams:
            stream.start()
        for queue in self._queues:
            queue.start()
        Scheduler(self._bus, self._stopping).start()
        MonitoringScheduler(self._stopping).start()

    def _fill_in(self, client_secret: str) -> None:
        """Do the manual steps after a deployment: models' bucket, the image, client secret, public key."""
        self.client("s3").create_bucket(Bucket=MODELS_BUCKET)
        self.client("s3").put_bucket_versioning(Bucket=MODELS_BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self._push_image()
        secret = self._variable(names.IDENTITY_SECRET_ARN)
        if secret is not None:
            self.client("secretsmanager").put_secret_value(
                SecretId=secret, SecretString=json.dumps({"client_secret": client_secret})
            )
        key = self._variable(names.SIGNING_KEY_ARN)
        if key is not None:
            encoded = base64.b64encode(self.client("kms").get_public_key(KeyId=key)["PublicKey"]).decode()
            lines = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
            self.public_key = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
            (self.options.home / names.PUBLIC_KEY_FILE).write_text(self.public_key)

    def _push_image(self) -> None:
        """Put the service's image into ECR by its tag; only its manifest, because no more of it is read here."""
        repository, _, tag = IMAGE.partition("/")[2].partition(":")
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "layers": []}
        self.client("ecr").create_repository(repositoryName=repository)
        self.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))

    def _variable(self, name: str) -> str | None:
        """Return the value of an environment variable from any function that has it."""
        values = (function.settings.environment.get(name) for function in self.deployment.functions.values())
        return next((value for value in values if value), None)

    def _task_root(self) -> Path:
        """Make the folder of the functions' bundle: source and configuration."""
        task_root = self.options.home / "task"
        task_root.mkdir(parents=True, exist_ok=True)
        for name, target in (
            ("lambdas", ROOT / "lambdas"),
            ("promotion", ROOT / "promotion"),
            (names.CONFIG_FILE, (self.options.home / names.CONFIG_FILE).resolve()),
        ):
            link = task_root / name
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        return task_root

    def _warm(self) -> None:
        """Start a process for each function that people or events wait for; others start at their first call."""
        awaited = {source.function_arn for source in self.deployment.event_sources}
        awaited |= {route.function_arn for route in self.deployment.routes}
        rules = self.client("events").list_rules()["Rules"]
        for rule in rules:
            if "EventPattern" in rule:
                targets = self.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
                awaited |= {target["Arn"] for target in targets}
        with ThreadPoolExecutor(4) as pool:
            for arn in awaited:
                if arn in self.deployment.functions:
                    pool.submit(self.deployment.functions[arn].warm)

    @staticmethod
    def _function_credentials(role_arn: str, name: str) -> Mapping[str, str]:
        return service_session(role_arn, name, "lambda.amazonaws.com")

    def _wake_streams(self) -> None:
        for reader in self._streams:
            reader.woken.set()

    def _wake_queues(self) -> None:
        for reader in self._queues:
            reader.wake()


def trouble(aws_url: str, provider: IdentityProvider | None) -> str | None:
    """Return the reason why the service can't answer; None if it can. `provider` is None if the user's own is used."""
    try:
        urllib.request.urlopen(f"{aws_url}/moto-api/", timeout=10).close()  # noqa: S310 our own address
    except OSError:
        return "AWS does not answer"
    if provider is not None and not provider.is_healthy():
        return "the identity provider does not answer"
    return None


def _announce(package: Any) -> None:
    detail = sagemaker.state_change(package)
    events.publish(names.SAGEMAKER_SOURCE, names.PACKAGE_STATE_CHANGE, detail, [package.arn])


def _announce_job(job: jobs.Job) -> None:
    if job.kind == "processing":
        events.publish(names.SAGEMAKER_SOURCE, names.PROCESSING_STATE_CHANGE, job.state_change(), [job.arn])
