"""Which address leads where."""

from __future__ import annotations

from infra.api import ROUTES
from tests.infra.synthesized import Template


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


def test_what_changes_something_is_answered_by_decide_alone(template: Template) -> None:
    decide, _ = template.function("decide")
    web, _ = template.function("web")
    for key, function in answering(template).items():
        assert function == (decide if key.startswith("POST ") and key != "POST /logout" else web), key


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
