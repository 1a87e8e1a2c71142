"""The HTTP API: the function of each route."""

from __future__ import annotations

import json

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_certificatemanager as certificates
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.cdk_nag import acknowledge
from infra.functions import Functions
from promotion.config.settings import Web

_GET = [apigateway.HttpMethod.GET, apigateway.HttpMethod.HEAD]
_POST = [apigateway.HttpMethod.POST]

# HEAD needs its own routes, because an HTTP API does not answer it by GET's routes.
ROUTES: list[tuple[str, list[apigateway.HttpMethod], str]] = [
    ("/", _GET, "web"),
    ("/approvals/{token}", _GET, "web"),
    ("/models", _GET, "web"),
    ("/models/{group}", _GET, "web"),
    ("/models/{group}/versions/{version}", _GET, "web"),
    ("/login", _GET, "sign_in"),
    ("/callback", _GET, "sign_in"),
    ("/callback", _POST, "sign_in"),
    ("/healthz", _GET, "web"),
    ("/static/{name}", _GET, "web"),
    # Any other address gets a not-found page with a link back.
    ("/{proxy+}", _GET, "web"),
    ("/logout", _POST, "sign_in"),
    ("/backchannel-logout", _POST, "sign_in"),
    ("/approvals/{token}", _POST, "decide"),
    ("/approvals/{token}/again", _POST, "decide"),
    ("/approvals/{token}/withdraw", _POST, "decide"),
    ("/models/{group}/{environment}/rollback", _POST, "decide"),
    ("/models/{group}/versions/{version}/revoke", _POST, "decide"),
]

# The route's template instead of the path, because the path contains an approval token, which must not be logged.
_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "ip": "$context.identity.sourceIp",
    "time": "$context.requestTime",
    "route": "$context.routeKey",
    "status": "$context.status",
    "latencyMs": "$context.responseLatency",
    "error": "$context.error.message",
}


class Api(Construct):
    """The HTTP API. It is made before its routes, so that functions can get its address without a circular dependency."""

    def __init__(self, scope: Construct, name: str, *, web: Web) -> None:
        super().__init__(scope, name)
        self._http = apigateway.HttpApi(
            self,
            "Http",
            description="Approval pages and decisions",
            create_default_stage=False,
            # With a custom domain, the default endpoint would be a second address, for which cookies and links are not
            # valid.
            disable_execute_api_endpoint=web.domain_name is not None,
        )
        log_group = logs.LogGroup(
            self, "AccessLog", retention=logs.RetentionDays.ONE_YEAR, removal_policy=RemovalPolicy.DESTROY
        )
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=self._http,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=50, burst_limit=100),
        )
        plain = stage.node.default_child
        assert isinstance(plain, apigateway.CfnStage)
        plain.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=log_group.log_group_arn, format=json.dumps(_ACCESS_LOG)
        )
        self.domain: apigateway.DomainName | None = None
        if web.domain_name is not None and web.certificate_arn is not None:
            self.domain = apigateway.DomainName(
                self,
                "Domain",
                domain_name=web.domain_name,
                certificate=certificates.Certificate.from_certificate_arn(self, "Certificate", web.certificate_arn),
                security_policy=apigateway.SecurityPolicy.TLS_1_2,
            )
            apigateway.ApiMapping(self, "Mapping", api=self._http, domain_name=self.domain, stage=stage)
            self.url = f"https://{web.domain_name}"
        else:
            self.url = self._http.api_endpoint

    @property
    def api_id(self) -> str:
        return self._http.api_id

    def route(self, functions: Functions) -> None:
        """Add the routes to the functions; commands are authorized by IAM, people by their session."""
        for path, methods, module in ROUTES:
            self._http.add_routes(
                path=path,
                methods=methods,
                integration=integrations.HttpLambdaIntegration(
                    f"To{module.title().replace('_', '')}", functions[module]
                ),
            )
        self._http.add_routes(
            path="/operations",
            methods=_POST,
            integration=integrations.HttpLambdaIntegration("ToOperate", functions["operate"]),
            authorizer=authorizers.HttpIamAuthorizer(),
        )
        acknowledge(
            self._http,
            {
                "AwsSolutions-APIG4": "People sign in at the identity provider: without a session the function "
                "answers 302 or 401, which no authorizer of an HTTP API can do. /operations has AWS_IAM.",
            },
        )
