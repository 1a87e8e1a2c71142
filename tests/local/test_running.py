"""Starting, stopping and what is said: ports, signals, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.children import Children, Ending
from local.ports import Held, PortInvalid, Ports
from local.service import LocalService
from local.waiting import until
from tests.local.people import register

ROOT = Path(__file__).resolve().parent.parent.parent


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def all_free(ports: Ports) -> bool:
    return all(map(is_free, (ports.http, ports.aws, ports.idp)))


def left_of(home: Path) -> list[str]:
    """Command lines of processes that belong to a service with this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text().replace("\0", " ")
            environ = (process / "environ").read_text(errors="replace")
        except (OSError, UnicodeDecodeError):
            continue
        if str(home) in line or str(home) in environ:
            found.append(line)
    return found


@pytest.mark.parametrize(("index", "variable"), [(0, "PORT"), (1, "AWS_PORT"), (2, "IDP_PORT")])
def test_a_port_in_use_is_named_with_what_to_set(index: int, variable: str, tmp_path: Path) -> None:
    with Held(2) as held, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        numbers = [*held.numbers]
        numbers.insert(index, number)
        done = subprocess.run(
            [sys.executable, "-m", "local", "--private", "--home", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, **Ports(*numbers).environment()},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 1
    assert (
        done.stderr == f"local: Port {number} is in use. Stop what listens there, or set {variable} to another port.\n"
    )
    assert left_of(tmp_path) == []


@pytest.mark.parametrize("environ", [{"PORT": "http"}, {"PORT": "0"}, {"AWS_PORT": "8000"}])
def test_a_port_that_is_none_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(PortInvalid):
        Ports.of_environment(environ)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_frees_every_port_and_leaves_no_process(ending: signal.Signals, tmp_path: Path) -> None:
    service = LocalService(inference=False, home=tmp_path).start()
    assert not all_free(service.ports)
    assert len(left_of(tmp_path)) > 3
    assert service.process_id is not None
    os.kill(service.process_id, ending)
    assert service.wait() == 0
    assert all_free(service.ports)
    assert left_of(tmp_path) == []
    service.stop()


def test_nothing_is_begun_once_everything_is_being_ended(tmp_path: Path) -> None:
    children = Children()
    children.stop_all()
    with pytest.raises(Ending):
        children.start([sys.executable, "-c", ""], environment={}, directory=tmp_path, log=subprocess.DEVNULL)


_ENDS_ONCE_THE_OTHER_IS_TOLD = """
import pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path("first").write_text("")
open("told").read()
"""
_COUNTS_SIGNALS = """
import pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path("second").write_text("")
signal.sigwait([signal.SIGTERM])
open("told", "w").close()
pathlib.Path("signals").write_text("two" if signal.sigtimedwait([signal.SIGTERM], 1) else "one")
"""


def test_a_process_that_is_being_ended_is_told_so_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "told")
    children = Children()
    for program in (_ENDS_ONCE_THE_OTHER_IS_TOLD, _COUNTS_SIGNALS):
        children.start([sys.executable, "-c", program], environment={}, directory=tmp_path, log=subprocess.DEVNULL)
    until("the processes", lambda: (tmp_path / "first").exists() and (tmp_path / "second").exists())
    children.stop_all()
    assert (tmp_path / "signals").read_text() == "one"


def test_killing_it_leaves_no_process(tmp_path: Path) -> None:
    service = LocalService(inference=False, home=tmp_path).start()
    service.kill()
    service.wait_for(lambda: all_free(service.ports) and not left_of(tmp_path))


def test_a_resource_of_an_unknown_type_is_refused_by_name(tmp_path: Path) -> None:
    def edit(template: dict[str, object]) -> None:
        resources = template["Resources"]
        assert isinstance(resources, dict)
        resources["Surprise"] = {"Type": "AWS::Neptune::DBCluster"}

    service = LocalService(template_edit=edit, home=tmp_path)
    with pytest.raises(Exception, match=r"Surprise: the local service can't make AWS::Neptune::DBCluster"):
        service.start()
    assert all_free(service.ports)
    assert left_of(tmp_path) == []


def test_a_wait_that_is_over_shows_the_end_of_each_log(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "sweep.log").write_text("begun\n" * 500 + "swept")
    service = LocalService(ports=Ports(), home=tmp_path)
    with pytest.raises(TimeoutError, match=r"(?s)^Not within 0 s.*sweep\.log: ….{995}swept$"):
        service.wait_for(lambda: None, seconds=0)


def test_it_says_where_to_look_and_how_to_begin(service: LocalService) -> None:
    # It answers before it has said everything.
    service.wait_for(lambda: "Ctrl-C ends it" in service.output)
    for expected in (
        service.url,
        f"{service.url}/_local/mailbox",
        service.idp_url,
        f"export AWS_ENDPOINT_URL={service.aws_url}",
        "export AWS_ACCESS_KEY_ID=test",
        "export PROMOTION_PUBLIC_KEY=",
        f"{service.url}/_local/",
        "docs/registering.md",
        "ann approves everywhere",
        "Ctrl-C",
    ):
        assert expected in service.output


def test_the_button_of_its_first_page_registers_a_model(service: LocalService) -> None:
    assert httpx.post(f"{service.url}/_local/sample", timeout=60, follow_redirects=True).status_code == 200
    service.wait_for(lambda: [mail for mail in service.mailbox() if "sample v1" in mail["subject"]])


def test_a_signed_route_refuses_who_does_not_sign_or_signs_wrongly(service: LocalService) -> None:
    url = f"{service.url}/operations"

    def post(secret: str | None, service_name: str = "execute-api") -> int:
        request = AWSRequest("POST", url, data=b"{}", headers={"Content-Type": "application/json"})
        if secret is not None:
            SigV4Auth(Credentials("test", secret), service_name, "us-east-1").add_auth(request)
        return httpx.post(url, content=b"{}", headers=dict(request.headers.items()), timeout=60).status_code

    assert post(None) == 403
    assert post("wrong") == 403
    assert post("test", "s3") == 403
    # The administrator is an operator; what is asked for is nonsense, which the function says.
    assert post("test") in {400, 422}


def test_a_role_that_may_not_invoke_the_api_is_refused(service: LocalService) -> None:
    held = service.role_session("web").credentials
    url = f"{service.url}/operations"
    request = AWSRequest("POST", url, data=b"{}", headers={"Content-Type": "application/json"})
    key, secret, token = (held[name] for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"))
    SigV4Auth(Credentials(str(key), str(secret), token), "execute-api", "us-east-1").add_auth(request)
    answer = httpx.post(url, content=b"{}", headers=dict(request.headers.items()), timeout=60)
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_large_requests_are_refused_as_api_gateway_refuses_them(service: LocalService) -> None:
    assert httpx.get(service.url, headers={"X-Large": "x" * 11_000}, timeout=60).status_code == 431
    assert httpx.post(f"{service.url}/logout", content=b"x" * (10 * 1024 * 1024 + 1), timeout=60).status_code == 413


def test_the_mailbox_is_read_by_people_and_by_scripts(service: LocalService) -> None:
    register(service, "mailbox")
    mail = service.wait_for(lambda: [mail for mail in service.mailbox() if "mailbox v1" in mail["subject"]])[0]
    assert mail["to"] == ["ann@example.com", "ben@example.com"]
    assert mail["links"][0].startswith(f"{service.url}/approvals/")
    assert {"subject", "text", "html", "attachments", "sent_at"} <= mail.keys()
    page = httpx.get(f"{service.url}/_local/mailbox/{mail['number']}", timeout=60)
    assert mail["subject"] in page.text
    shown = httpx.get(f"{service.url}/_local/mailbox/{mail['number']}/html", timeout=60)
    assert mail["links"][0] in shown.text
    assert "sandbox" in shown.headers["content-security-policy"]
    assert httpx.get(f"{service.url}/_local/mailbox/{mail['number']}/attachments/9", timeout=60).status_code == 404


@pytest.mark.parametrize("body", ["", "[]", '{"advance_seconds": -1}', '{"advance_seconds": "x"}', "{}"])
def test_time_is_moved_only_forward_and_only_by_a_number(service: LocalService, body: str) -> None:
    assert httpx.post(f"{service.url}/_local/clock", content=body, timeout=60).status_code == 400


def test_without_the_identity_provider_it_is_not_healthy() -> None:
    with LocalService(inference=False) as service:
        assert httpx.get(f"{service.url}/healthz", timeout=60).status_code == 200
        assert service.process_id is not None
        provider = next(pid for pid, line in children_of(service.process_id) if "server.mjs" in line)
        os.kill(provider, signal.SIGKILL)
        service.wait_for(lambda: httpx.get(f"{service.url}/healthz", timeout=60).status_code == 503)


def children_of(parent: int) -> list[tuple[int, str]]:
    """Pids and command lines of a process's children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            line = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if ppid == parent:
            found.append((int(process.name), line))
    return found
