"""The function of each route."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.api import ROUTES
from promotion import names
from tests.infra.synthesized import Template, synthesize

CONFIG = Path(__file__).parent / "promotion.toml"
DOMAIN, CERTIFICATE = "models.example.com", "arn:aws:acm:us-east-1:123456789012:certificate/1"


def answering(template: Template) -> dict[str, str]:
    """Route key → logical id of the function that answers."""
    integrations = template.of_type("AWS::ApiGatewayV2::Integration")
    found = {}
    for route in template.of_type("AWS::ApiGatewayV2::Route").values():
        integration = integrations[route["Target"].removeprefix("integrations/<").removesuffix(">")]
        assert integration["PayloadFormatVersion"] == "2.0"
        found[route["RouteKey"]] = integration["IntegrationUri"].removeprefix("<").removesuffix(".Arn>")
    return found


def test_every_page_has_get_and_head_and_every_form_only_post(template: Template) -> None:
    keys = set(answering(template))
    for path, methods, _ in ROUTES:
        assert {f"{method.value}" for method in methods} in ({"GET", "HEAD"}, {"POST"}), path
        assert {f"{method.value} {path}" for method in methods} <= keys


def test_decide_has_the_routes_of_decisions_and_sign_in_those_of_sessions(template: Template) -> None:
    expected = {"POST /operations": "operate"}
    for path in ("/login", "/callback", "/logout", "/backchannel-logout"):
        expected |= {f"{method} {path}": "sign_in" for method in ("GET", "HEAD", "POST")}
    for key, function in answering(template).items():
        module = expected.get(key, "decide" if key.startswith("POST ") else "web")
        assert function == template.function(module)[0], key


def test_commands_come_in_by_iam_and_nothing_else_does(template: Template) -> None:
    for route in template.of_type("AWS::ApiGatewayV2::Route").values():
        expected = "AWS_IAM" if route["RouteKey"] == "POST /operations" else "NONE"
        assert route["AuthorizationType"] == expected, route["RouteKey"]


def test_requests_are_throttled_and_logged_without_their_paths(template: Template) -> None:
    (stage,) = template.of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["StageName"] == "$default"
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] <= 100
    assert "$context.routeKey" in stage["AccessLogSettings"]["Format"]
    # A path holds an approval token.
    assert "$context.path" not in stage["AccessLogSettings"]["Format"]


def test_each_function_lets_only_its_own_routes_in(template: Template) -> None:
    for name, permission in template.of_type("AWS::Lambda::Permission").items():
        assert permission["SourceArn"], f"{name} would let any API or rule of any account in"


@pytest.fixture(scope="module")
def with_domain(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("domain")
    web = f'\n[advanced.web]\ndomain_name = "{DOMAIN}"\ncertificate_arn = "{CERTIFICATE}"\n'
    (folder / "promotion.toml").write_text(CONFIG.read_text(encoding="utf-8") + web, encoding="utf-8")
    return synthesize(folder / "promotion.toml", folder / "out")


def test_with_a_domain_of_ones_own_the_bare_address_is_shut_and_every_link_leads_there(with_domain: Template) -> None:
    (api,) = with_domain.of_type("AWS::ApiGatewayV2::Api").values()
    assert api["DisableExecuteApiEndpoint"] is True
    for function, properties in with_domain.of_type("AWS::Lambda::Function").items():
        url = properties["Environment"]["Variables"].get(names.PUBLIC_URL)
        assert url in (None, f"https://{DOMAIN}"), function
    assert '"ApiEndpoint"' not in with_domain.path.read_text(encoding="utf-8")
    outputs = with_domain.document["Outputs"]
    assert outputs["ApiUrl"]["Value"] == f"https://{DOMAIN}"
    assert outputs["CallbackUrl"]["Value"] == f"https://{DOMAIN}/callback"
    assert "RegionalDomainName" in str(outputs["DomainTarget"]["Value"])


def test_the_domain_is_mapped_to_the_stage_with_its_certificate(with_domain: Template) -> None:
    domain, given = with_domain.the("AWS::ApiGatewayV2::DomainName", "ApiDomain")
    (configuration,) = given["DomainNameConfigurations"]
    assert (given["DomainName"], configuration["CertificateArn"]) == (DOMAIN, CERTIFICATE)
    assert configuration["SecurityPolicy"] == "TLS_1_2"
    _, mapping = with_domain.the("AWS::ApiGatewayV2::ApiMapping", "ApiMapping")
    assert mapping["DomainName"] == f"<{domain}>"
