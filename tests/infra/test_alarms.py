"""Alarms that go off: each is held against what the real functions emit."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest
import time_machine

from infra.monitoring import longest_wait_hours
from promotion import names
from promotion.config.loading import parse
from promotion.links.session import Session
from tests.fakes import ANN, CONFIG, CONFIG_TEXT, GROUP, PREFIX, signed_in
from tests.faults.resources import URL, function
from tests.faults.simulation import BEGINNING, Simulation, simulation
from tests.identity.provider import Provider
from tests.infra.alarms import alarms, emitted, goes_off, watched
from tests.infra.synthesized import Template


@pytest.fixture
def running(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Simulation]:
    """Version 1 pending in dev, everything projected, nobody's output read yet."""
    with simulation(tmp_path) as made:
        made.register()
        made.settle()
        made.inside = True
        capsys.readouterr()
        yield made


def under(template: Template, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's own variables as the template has them; where they name a resource, that of the plant."""
    variables = template.function(module)[1]["Environment"]["Variables"]
    for name, value in variables.items():
        if "<" not in str(value):
            monkeypatch.setenv(name, value)
    forget_variables()


def forget_variables() -> None:
    from lambdas.shared.variables import variables

    variables.cache_clear()


def pages(path: str, method: str = "GET") -> dict[str, Any]:
    http = {"method": method, "path": path}
    return {
        "version": "2.0", "routeKey": "", "rawPath": path, "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"host": URL.removeprefix("https://")}, "requestContext": {"http": http, "stage": "$default"},
    }  # fmt: skip


def verifies(made: Simulation) -> None:
    function("verify")({}, None)


def sweeps(made: Simulation) -> None:
    function("sweep")({}, None)


def after_somebody_wrote_a_parameter(made: Simulation) -> None:
    boto3.client("ssm").put_parameter(Name=f"{PREFIX}/{GROUP}/dev/live", Value="{}", Type="String")
    verifies(made)


def after_nobody_swept_for_days(made: Simulation) -> None:
    with time_machine.travel(BEGINNING + timedelta(days=7)):
        function("sweep")({}, None)


def opens(module: str, path: str) -> Callable[[Simulation], None]:
    return lambda made: function(module)(pages(path), None) and None


def reads(made: Simulation) -> None:
    """A signed-in person opens the board."""
    from lambdas.shared.dependencies import form_keys, session_maker, sessions

    moment = datetime.now(UTC)
    session = Session(id="s", person=signed_in(ANN, moment), expires_at=moment + timedelta(hours=1))
    with made.without_faults():
        cookie = session_maker().cookie(session)
        sessions(), form_keys()
    function("web")(pages("/") | {"cookies": [f"__Host-session={cookie}"]}, None)


def rejects(made: Simulation) -> None:
    from lambdas.shared.dependencies import keyring

    with made.without_faults():
        token = keyring().approval_token(f"{GROUP}:1:dev:1")
    made.post(f"/approvals/{token}", {"verdict": "Rejected", "reason": "Biased."})


def adopts(made: Simulation) -> None:
    made.adopt(1, "dev")


def wakes(made: Simulation) -> None:
    keys = {"pk": {"S": f"GROUP#{GROUP}"}, "sk": {"S": "HEAD"}}
    record = {"dynamodb": {"Keys": keys, "SequenceNumber": "7", "NewImage": {"sequence": {"N": "7"}}}}
    function("on_ledger_appended")({"Records": [record]}, None)


def while_down(service: str, act: Callable[[Simulation], None]) -> Callable[[Simulation], None]:
    """`act` while every call to a service of AWS fails."""

    def broken(made: Simulation) -> None:
        made.inside, made.fails_if = False, lambda name, given: name.startswith(f"{service}:")
        act(made)
        made.inside, made.fails_if = True, None

    return broken


def signs_in(refusal: str = "", *, down: bool = False) -> Callable[[Simulation], None]:
    """A person signs in; the provider refuses their code, or this application, or doesn't answer."""

    def act(made: Simulation) -> None:
        from lambdas.shared import dependencies

        place = Path(os.environ["LAMBDA_TASK_ROOT"]) / names.CONFIG_FILE
        before = place.read_text(encoding="utf-8")
        secret = boto3.client("secretsmanager").create_secret(
            Name=uuid.uuid4().hex, SecretString='{"client_secret": "expired"}'
        )["ARN"]
        with Provider() as provider, pytest.MonkeyPatch.context() as patch:
            patch.setenv(names.IDENTITY_SECRET_ARN, secret)
            forget_variables()
            provider.refusal, provider.down = {"error": refusal}, down
            _identified_by(before.replace("https://login.example.com/tenant/v2.0", provider.issuer), place)
            begun = function("sign_in")(pages("/login"), None)
            if not down:
                assert _comes_back(begun)["statusCode"] == 403
        _identified_by(before, place)
        forget_variables()
        dependencies.secrets.cache_clear()

    return act


def _identified_by(text: str, place: Path) -> None:
    from lambdas.shared import dependencies

    place.write_text(text, encoding="utf-8")
    dependencies.config.cache_clear()
    dependencies.identity_provider.cache_clear()


def _comes_back(begun: Mapping[str, Any]) -> Mapping[str, Any]:
    """The browser comes back from the provider with a code, to where it was sent from."""
    [cookie] = [each for each in begun["cookies"] if "Max-Age=0" not in each]
    state = parse_qs(urlsplit(begun["headers"]["Location"]).query)["state"][0]
    event = pages("/callback") | {
        "cookies": [cookie.partition(";")[0]], "rawQueryString": urlencode({"code": "c", "state": state}),
        "queryStringParameters": {"code": "c", "state": state},
    }  # fmt: skip
    answer: Mapping[str, Any] = function("sign_in")(event, None)
    return answer


# Alarm: the function that emits, what makes it go off, and the same without trouble.
OWN: Mapping[str, tuple[str, Callable[[Simulation], None], Callable[[Simulation], None]]] = {
    "Differences": ("verify", after_somebody_wrote_a_parameter, verifies),
    "RequestsOverdue": ("sweep", after_nobody_swept_for_days, sweeps),
    "WebAnswers5xx": ("web", while_down("dynamodb", reads), reads),
    "DecideAnswers5xx": ("decide", while_down("dynamodb", rejects), rejects),
    "OperateAnswers5xx": ("operate", while_down("dynamodb", adopts), adopts),
    "SignInAnswers5xx": ("sign_in", signs_in(down=True), signs_in("invalid_grant")),
    "SignInsBroken": ("sign_in", signs_in("invalid_client"), signs_in("invalid_grant")),
    "WakeUpsRefused": ("on_ledger_appended", while_down("sqs", wakes), wakes),
}


@pytest.mark.parametrize("name", OWN)
def test_an_alarm_goes_off_by_what_the_function_itself_emits(
    name: str,
    template: Template,
    running: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, trouble, sound = OWN[name]
    alarm = dict(alarms(template))[name]
    under(template, module, monkeypatch)
    sound(running)
    assert not goes_off(alarm, emitted(capsys.readouterr().out))
    trouble(running)
    assert goes_off(alarm, emitted(capsys.readouterr().out))
    assert not goes_off(alarm, []), "nobody is told from the first minute"


def test_a_failed_run_of_another_account_is_told_here(
    several: dict[str, Template],
    running: Simulation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarm = dict(alarms(several["promotion"]))["InferenceFailedProd"]
    under(several["promotion"], "on_inference_completed", monkeypatch)
    running.fail(1, "prod", "no capacity", broken=False)
    module, event, _ = running.asynchronous.pop()
    assert not goes_off(alarm, emitted(capsys.readouterr().out))
    function(module)(event, None)
    assert goes_off(alarm, emitted(capsys.readouterr().out))


def test_a_verification_is_counted_and_its_absence_told(
    template: Template, running: Simulation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = dict(alarms(template))["NotVerified"]
    under(template, "verify", monkeypatch)
    verifies(running)
    assert not goes_off(alarm, emitted(capsys.readouterr().out))
    assert goes_off(alarm, [])


def test_parameters_are_counted_and_told_of_at_70_percent(
    template: Template, running: Simulation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = dict(alarms(template))["ParametersMany"]
    under(template, "verify", monkeypatch)
    verifies(running)
    there = sum(
        len(page["Parameters"])
        for page in boto3.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=PREFIX, Recursive=True)
    )
    found = emitted(capsys.readouterr().out)
    [counted] = [each for each in found if each[1] == names.PARAMETERS_METRIC]
    assert (counted[3], there > 0) == (there, True)
    assert not goes_off(alarm, found)
    assert alarm["Threshold"] == 0.7 * 10_000
    assert goes_off(alarm, [(*counted[:3], 7_000.0)])


def test_every_alarm_on_a_metric_of_ours_is_tried(template: Template) -> None:
    ours = {
        name
        for name, alarm in alarms(template)
        if any(metric.namespace == names.METRICS_NAMESPACE for metric in watched(alarm))
    }
    assert ours == {*OWN, "NotVerified", "ParametersMany"}


def test_a_request_may_wait_as_long_as_any_configuration_lets_it() -> None:
    assert longest_wait_hours(CONFIG) == 73
    longer = parse(CONFIG_TEXT + '[groups_override."x-*".environments.prod]\nexpires_after = "7d"\n')
    assert longest_wait_hours(longer) == 169
    frozen = parse(
        CONFIG_TEXT + '[[freeze]]\nstart = 2026-12-20T00:00:00Z\nend = 2026-12-22T00:00:00Z\nreason = "Holidays"\n'
    )
    assert longest_wait_hours(frozen) == 73 + 48
