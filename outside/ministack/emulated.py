"""An installation on ministack: another emulator, by other people, deployed to by the real `cdk` command.

It enforces the roles' policies and bucket policies, speaks TLS, and runs the functions from their bundle. SageMaker, which it
lacks, is moto's server. Other missing resources are left out of the template here, by name.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from local.clients import any_client
from local.http_client import Form
from local.ports import Held
from tests.infra.synthesized import ROOT, run_app

# Both exist on AWS: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-events-eventbuspolicy.html,
# and DkimDNSTokenName1 is an attribute of AWS::SES::EmailIdentity.
UNKNOWN_TYPES = ("AWS::Events::EventBusPolicy",)
UNKNOWN_OUTPUTS = ("SesRecords",)
ACCOUNT = "000000000000"
REGION = "us-east-1"
Answer = TypeVar("Answer")


def eventually(look: Callable[[], Answer | None], what: str, *, within_s: float = 600) -> Answer:
    """Wait until `look` returns something, and return it.

    Raises:
        AssertionError: it found nothing in time.
    """
    deadline = time.monotonic() + within_s
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"no {what} within {within_s:.0f} s"
        time.sleep(0.1)
    return found


@dataclass
class Emulator:
    """A running ministack with moto's SageMaker beside it."""

    folder: Path
    port: int
    sagemaker_port: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def log(self) -> str:
        return (self.folder / "ministack.log").read_text(errors="replace")

    def client(self, service: str) -> Any:
        """A client as the account's administrator."""
        endpoint = f"http://127.0.0.1:{self.sagemaker_port}" if service == "sagemaker" else self.url
        return any_client(
            service,
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            verify=str(self.certificate),
        )

    def cdk(self, *arguments: str) -> str:
        """The real command line.

        Raises:
            AssertionError: with what it said.
        """
        finished = subprocess.run(
            [str(ROOT / "node_modules" / ".bin" / "cdk"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
        return finished.stdout + finished.stderr

    def deploy(self, config: Path) -> dict[str, str]:
        """`cdk bootstrap` and `cdk deploy`; the stack's outputs."""
        assembly = self.folder / "cdk.out"
        aws = {name: value for name, value in self.environment.items() if name.startswith("AWS_")}
        finished = run_app(config, assembly, aws=aws, bundle="host", nag="false")
        assert finished.returncode == 0, finished.stderr
        template = assembly / "promotion.template.json"
        template.write_text(json.dumps(within_reach(json.loads(template.read_text()))))
        self.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}")
        self.cdk("deploy", "--app", str(assembly), "--require-approval", "never", "--outputs-file", "outputs.json")
        outputs: dict[str, str] = json.loads((self.folder / "outputs.json").read_text())["promotion"]
        return outputs

    def destroy(self) -> None:
        """Run `cdk destroy`: retained resources stay."""
        self.cdk("destroy", "--app", str(self.folder / "cdk.out"), "--force")

    def mails(self) -> list[dict[str, Any]]:
        """Mails sent, as ministack keeps them."""
        answer = fetch(self, "GET", f"{self.url}/_ministack/ses/messages")
        found: list[dict[str, Any]] = json.loads(answer.body)["messages"].get(ACCOUNT, [])
        return found


def within_reach(document: dict[str, Any]) -> dict[str, Any]:
    """Return a template without resources that ministack lacks; tests/infra/simulation.py judges full conditions."""
    resources = {name: one for name, one in document["Resources"].items() if one["Type"] not in UNKNOWN_TYPES}
    # The stacks of the buses have no outputs.
    outputs = {name: one for name, one in document.get("Outputs", {}).items() if name not in UNKNOWN_OUTPUTS}
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm" and resource["Properties"].pop("Metrics", None):
            # It computes nothing from several metrics; nobody waits for an alarm here.
            plain = {"Namespace": "AWS/States", "MetricName": "ExecutionsFailed", "Statistic": "Sum", "Period": 300}
            resource["Properties"] |= plain
        if resource["Type"] == "AWS::IAM::Policy":
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                # It has no events:source and no ses:FromAddress, and takes every mail to be sent from `*`.
                if actions[0] in ("events:PutEvents", "ses:SendEmail"):
                    statement.pop("Condition", None)
                    if actions[0] == "ses:SendEmail":
                        statement["Resource"] = "*"
    text = json.dumps({**document, "Resources": resources, "Outputs": outputs})
    for name, resource in resources.items():
        # On AWS a reference to a secret is its ARN, as GetAtt Id is; here the reference is its name.
        if resource["Type"] == "AWS::SecretsManager::Secret":
            text = text.replace(json.dumps({"Ref": name}), json.dumps({"Fn::GetAtt": [name, "Id"]}))
    reached: dict[str, Any] = json.loads(text)
    return reached


@contextmanager
def running(folder: Path) -> Iterator[Emulator]:
    """Starts both servers, and stops them."""
    with Held(2) as held:
        port, sagemaker_port = held.numbers
        yield from _running(Emulator(folder, port, sagemaker_port))


def _running(emulator: Emulator) -> Iterator[Emulator]:
    folder, interpreter = emulator.folder, Path(os.environ["OUTSIDE_PYTHON"])
    self_signed(folder)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    common = {"AWS_DEFAULT_REGION": REGION, "MINISTACK_REGION": REGION}
    trust = {"AWS_CA_BUNDLE": str(emulator.certificate), "NODE_EXTRA_CA_CERTS": str(emulator.certificate)}
    path = f"{interpreter.parent}{os.pathsep}{plain['PATH']}"
    emulator.environment = {
        **plain,
        **common,
        **trust,
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    server = {
        **plain,
        **common,
        **trust,
        "PATH": path,
        "TMPDIR": str(folder),
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(emulator.certificate),
        "MINISTACK_SSL_KEY": str(folder / "tls.key"),
        "GATEWAY_PORT": str(emulator.port),
        "AWS_ENDPOINT_URL_SAGEMAKER": f"http://127.0.0.1:{emulator.sagemaker_port}",
    }
    mended = (
        "from local.moto_patches import policies, sagemaker; sagemaker.mend(); policies.mend(); from moto.server import main; "
        f"main(['-H', '127.0.0.1', '-p', '{emulator.sagemaker_port}'])"
    )
    with (folder / "ministack.log").open("wb") as log, (folder / "moto.log").open("wb") as moto_log:
        ministack = subprocess.Popen(
            [str(interpreter), str(Path(__file__).with_name("start_ministack.py"))],
            env=server,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        moto = subprocess.Popen([sys.executable, "-c", mended], env=plain, cwd=ROOT, stdout=moto_log, stderr=moto_log)
        try:
            for port in (emulator.port, emulator.sagemaker_port):
                eventually(lambda port=port: answers(port), f"server on port {port}")  # type: ignore[misc]
            yield emulator
        finally:
            for process in (ministack, moto):
                process.terminate()
            for process in (ministack, moto):
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def answers(port: int) -> bool | None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return None
    return True


def self_signed(folder: Path) -> None:
    """A certificate for *.execute-api.localhost too, in the stead of a public one."""
    subjects = "DNS:localhost,DNS:*.execute-api.localhost,DNS:*.s3.localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run([*command, "-addext", f"subjectAltName={subjects}", *files], check=True, capture_output=True)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    cookies: list[str]
    body: str


def fetch(
    emulator: Emulator, method: str, url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request. Every host is this machine: the name only goes into the Host header, as DNS would have it."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        trusted = ssl.create_default_context(cafile=str(emulator.certificate))
        trusted.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", parts.port, timeout=300, context=trusted)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=300)
    path = parts.path or "/"
    connection.request(
        method, f"{path}?{parts.query}" if parts.query else path, body, {"Host": parts.netloc, **(headers or {})}
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return Reply(answer.status, dict(answer.getheaders()), answer.msg.get_all("set-cookie") or [], text)


class Browser:
    """A browser: follows redirects, and keeps cookies by host, also __Host- ones."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._cookies: dict[str, dict[str, str]] = {}

    def open(self, url: str, **headers: str) -> tuple[str, Reply]:
        return self._go("GET", url, None, headers)

    def post(self, url: str, fields: Mapping[str, str], **headers: str) -> tuple[str, Reply]:
        origin = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin, **headers}
        return self._go("POST", url, urlencode(fields), form)

    def sign_in(self, base_url: str, name: str) -> None:
        """Through the identity provider's form; the password is the name."""
        url, page = self.open(f"{base_url}/login")
        form = Form()
        form.feed(page.body)
        assert form.action is not None, page.body
        _, landed = self.post(urljoin(url, form.action), {**form.fields, "login": name, "password": name})
        assert landed.status == 200, landed.body

    def _go(self, method: str, url: str, body: str | None, headers: Mapping[str, str]) -> tuple[str, Reply]:
        for _ in range(12):
            kept = self._cookies.setdefault(urlsplit(url).netloc, {})
            cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())} if kept else {}
            reply = fetch(self._emulator, method, url, body=body, headers={**headers, **cookie})
            for line in reply.cookies:
                name, _, value = line.partition(";")[0].partition("=")
                kept[name] = value
            target = reply.headers.get("location") or reply.headers.get("Location")
            if reply.status not in (302, 303) or target is None:
                return url, reply
            method, url, body = "GET", urljoin(url, target), None
            headers = {key: value for key, value in headers.items() if key == "Accept"}
        raise AssertionError(f"redirected in a circle at {url}")
