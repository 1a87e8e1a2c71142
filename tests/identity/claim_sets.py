"""Claims in providers' tokens, by family, and the expected result. Shapes are from each provider's documentation.

`known` ids stand in the configuration as the environment's approver group and as auditors.
"""

from __future__ import annotations

from typing import Any

import msgspec

GUID = "7b1f4e0c-2f1d-4a0e-9d57-0f3c5a8b9e11"
OTHER = "11111111-2222-4333-8444-555555555555"
DN = "CN=ml-dev,OU=Groups,DC=corp,DC=example,DC=test"
GROUPS = "https://example.com/groups"


class ClaimSet(msgspec.Struct, frozen=True, kw_only=True):
    """Claims beside iss, aud, exp, iat and nonce; `...` leaves a usual one out. `refused` is a part of the refusal."""

    family: str
    case: str
    claims: dict[str, Any] = {}
    userinfo: dict[str, Any] | None = None
    settings: dict[str, str] = {}
    group: str = "ml-dev"
    member: bool = True
    brought: int | None = None
    name: str | None = None
    email: str | None = None
    refused: str = ""

    @property
    def title(self) -> str:
        return f"{self.family}: {self.case}"


def _set(family: str, case: str, **more: Any) -> ClaimSet:
    return ClaimSet(family=family, case=case, **more)


_THIN: dict[str, Any] = {"groups": ..., "email": ..., "name": ...}
_ENTRA: dict[str, Any] = {
    "oid": OTHER, "tid": GUID, "ver": "2.0", "uti": "x", "rh": "0.A", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    "preferred_username": "a.adler@corp.example.com", "name": "Ann Adler",
}  # fmt: skip
_ADFS: dict[str, Any] = {
    **_THIN, "sub": "U3b1pJ1Jd0b6bQfW+z9v0Qz5qk0r0K2oQm2Yw9lO8Xk=", "upn": "a.adler@corp.example.com",
    "unique_name": "CORP\\aadler", "auth_time": 1, "sid": "S-1", "apptype": "Confidential",
}  # fmt: skip
_COGNITO: dict[str, Any] = {
    "groups": ..., "name": ..., "sub": OTHER, "cognito:username": "corp-ad_ann", "token_use": "id", "email_verified": True,
}  # fmt: skip

CLAIM_SETS: tuple[ClaimSet, ...] = (
    _set("Entra ID", "groups by id", claims={**_ENTRA, "groups": [GUID, OTHER]}, group=GUID, brought=2),
    _set("Entra ID", "an id in capitals in the configuration", claims={**_ENTRA, "groups": [GUID]}, group=GUID.upper()),
    _set("Entra ID", "an id in capitals in the token", claims={**_ENTRA, "groups": [GUID.upper()]}, group=GUID),
    _set("Entra ID", "an id in braces", claims={**_ENTRA, "groups": [f"{{{GUID}}}"]}, group=GUID),
    _set("Entra ID", "app roles", claims={**_ENTRA, "groups": ..., "roles": ["ml-dev"]}, settings={"groups_claim": "roles"}),
    _set("Entra ID", "names of synchronized groups", claims={**_ENTRA, "groups": ["ml-dev", OTHER]}),
    _set("Entra ID", "DOMAIN\\name", claims={**_ENTRA, "groups": ["CORP\\ml-dev"]}, group="CORP\\ml-dev"),
    _set("Entra ID", "no mail, so the UPN", claims={**_ENTRA, "email": ..., "groups": [GUID]}, group=GUID,
         email="a.adler@corp.example.com"),
    _set("Entra ID", "not a member", claims={**_ENTRA, "groups": [OTHER]}, group=GUID, member=False, brought=1),
    _set("Entra ID", "no groups, an empty list", claims={**_ENTRA, "groups": []}, group=GUID, member=False, brought=0),
    _set("Entra ID", "overage", claims={**_ENTRA, "groups": ..., "_claim_names": {"groups": "src1"}},
         refused="more groups than a token can hold"),
    _set("Entra ID", "overage in the implicit flow", claims={**_ENTRA, "groups": ..., "hasgroups": True},
         refused="more groups than a token can hold"),
    _set("Entra ID", "overage with userinfo", claims={**_ENTRA, "groups": ..., "_claim_names": {"groups": "src1"}},
         userinfo={"sub": _ENTRA["sub"], "name": "Ann Adler"}, refused="more groups than a token can hold"),
    _set("Entra ID", "a version 1 token", claims={**_ADFS, "groups": [GUID], "oid": OTHER}, group=GUID,
         email="a.adler@corp.example.com"),
    _set("AD FS", "token groups by a rule, no name and no mail", claims={**_ADFS, "groups": ["ml-dev", "staff"]},
         name="CORP\\aadler", email="a.adler@corp.example.com"),
    _set("AD FS", "one group as text", claims={**_ADFS, "groups": "ml-dev"}),
    _set("AD FS", "groups qualified by the domain", claims={**_ADFS, "groups": ["CORP\\ml-dev"]}, group="CORP\\ml-dev"),
    _set("AD FS", "roles by a rule", claims={**_ADFS, "role": ["ml-dev"]}, settings={"groups_claim": "role"}),
    _set("AD FS", "claim type as a name", claims={**_ADFS, "http://schemas.xmlsoap.org/claims/Group": "ml-dev"},
         settings={"groups_claim": "http://schemas.xmlsoap.org/claims/Group"}),
    _set("AD FS", "as it comes", claims=_ADFS, userinfo={"sub": _ADFS["sub"]}, refused="no claim “groups”"),
    _set("Okta", "groups in the ID token", claims={"sub": "00uixa271s6x7qt8I0h7", "groups": ["Everyone", "ml-dev"]}, brought=2),
    _set("Okta", "a thin ID token, the rest at userinfo", claims={"groups": ..., "email": ..., "sub": "00u1"},
         userinfo={"sub": "00u1", "email": "ann@example.com", "groups": ["Everyone", "ml-dev"]}, email="ann@example.com"),
    _set("Okta", "no groups filter", claims={"groups": ..., "sub": "00u1"}, userinfo={"sub": "00u1"},
         refused="no claim “groups”"),
    _set("Okta", "login apart from mail", claims={"preferred_username": "ann@corp.example.com", "groups": ["ml-dev"]},
         email="ann@example.com"),
    _set("Okta", "AD group by distinguished name", claims={"groups": [DN]}, group=DN),
    _set("Auth0", "namespaced claim", claims={"groups": ..., GROUPS: ["ml-dev"], "sub": "auth0|1"},
         settings={"groups_claim": GROUPS}),
    _set("Auth0", "namespaced roles", claims={"groups": ..., "https://example.com/roles": ["ml-dev"]},
         settings={"groups_claim": "https://example.com/roles"}),
    _set("Auth0", "mail that nobody verified", claims={"email_verified": False, "nickname": "ann"}, email="", name="Ann Adler"),
    _set("Auth0", "no action", claims={"groups": ...}, settings={"groups_claim": GROUPS}, refused="no claim"),
    _set("Auth0", "app_metadata by a path", claims={"groups": ..., "app_metadata": {"groups": ["ml-dev"]}},
         settings={"groups_claim": "app_metadata.groups"}),
    _set("PingFederate", "all attributes at userinfo", claims={**_THIN, "sub": "aadler", "pi.sri": "x"},
         userinfo={"sub": "aadler", "groups": ["ml-dev"], "email": "ann@example.com", "name": "Ann Adler"},
         name="Ann Adler", email="ann@example.com"),
    _set("PingFederate", "memberOf by distinguished name", claims={"groups": ..., "memberOf": [DN.upper()]}, group=DN,
         settings={"groups_claim": "memberOf"}),
    _set("PingFederate", "one memberOf as text, with its commas", claims={"groups": ..., "memberOf": DN}, group=DN,
         settings={"groups_claim": "memberOf"}),
    _set("PingOne", "group names by a mapping", claims={"groups": ["ml-dev"], "env": GUID}),
    _set("PingOne", "population and ids", claims={"groups": ..., "p1.memberOfGroupIDs": [GUID]}, group=GUID,
         settings={"groups_claim": "p1.memberOfGroupIDs"}),
    _set("Keycloak", "full group path", claims={"groups": ["/ml-dev"], "preferred_username": "ann"}),
    _set("Keycloak", "without the path", claims={"groups": ["ml-dev"], "preferred_username": "ann"}),
    _set("Keycloak", "a path in the configuration", claims={"groups": ["ml-dev"]}, group="/ml-dev"),
    _set("Keycloak", "a nested group by its path", claims={"groups": ["/ml/dev"]}, group="/ml/dev"),
    _set("Keycloak", "a nested group is not one of its last name", claims={"groups": ["/other/ml-dev"]}, member=False),
    _set("Keycloak", "realm roles", claims={"groups": ..., "realm_access": {"roles": ["offline_access", "ml-dev"]}},
         settings={"groups_claim": "realm_access.roles"}, brought=2),
    _set("Keycloak", "client roles", claims={"groups": ..., "resource_access": {"promotion": {"roles": ["ml-dev"]}}},
         settings={"groups_claim": "resource_access.promotion.roles"}),
    _set("Keycloak", "a path that leads nowhere", claims={"groups": ..., "realm_access": {"other": 1}},
         settings={"groups_claim": "realm_access.roles"}, refused="realm_access.roles"),
    _set("Cognito", "groups of the pool", claims={**_COGNITO, "cognito:groups": ["eu-west-1_x_CorpAD", "ml-dev"]},
         settings={"groups_claim": "cognito:groups"}),
    _set("Cognito", "directory groups as a bracketed attribute", claims={**_COGNITO, "custom:groups": "[staff, ml-dev]"},
         settings={"groups_claim": "custom:groups"}, brought=2),
    _set("Cognito", "directory groups as JSON text", claims={**_COGNITO, "custom:groups": '["staff","ml-dev"]'},
         settings={"groups_claim": "custom:groups"}, brought=2),
    _set("Cognito", "one directory group", claims={**_COGNITO, "custom:groups": "ml-dev"},
         settings={"groups_claim": "custom:groups"}),
    _set("Cognito", "after the pre-token function", claims={**_COGNITO, "groups": ["ml-dev"]}),
    _set("Cognito", "no group in the pool", claims=_COGNITO, settings={"groups_claim": "cognito:groups"},
         refused="no claim “cognito:groups”"),
    _set("Google", "no groups anywhere", claims={"groups": ..., "hd": "example.com", "email_verified": True},
         userinfo={"sub": "subject-of-ann", "picture": "https://x"}, refused="no claim “groups”"),
    _set("LemonLDAP::NG", "all at userinfo", claims={**_THIN, "sub": "ann", "acr": "loa-2"},
         userinfo={"sub": "ann", "name": "Ann Adler", "email": "ann@example.com", "groups": ["ml-leads", "ml-dev"]},
         name="Ann Adler", email="ann@example.com", brought=2),
    _set("LemonLDAP::NG", "claims in the ID token", claims={"sub": "ann", "groups": ["ml-leads", "ml-dev"]}),
    _set("LemonLDAP::NG", "groups joined by a set separator", claims={"sub": "ann", "groups": "ml-leads; ml-dev"},
         settings={"groups_separator": ";"}, brought=2),
    _set("oidc-provider", "name and mail at userinfo", claims={"name": ..., "email": ..., "groups": ["ml-dev"]},
         userinfo={"sub": "subject-of-ann", "name": "Ann Adler", "email": "ann@example.com"},
         name="Ann Adler", email="ann@example.com"),
    _set("Authelia", "groups at userinfo", claims=_THIN,
         userinfo={"sub": "subject-of-ann", "groups": ["ml-dev"], "preferred_username": "ann", "email": "ann@example.com"}),
    _set("Zitadel", "roles as an object are told as that", refused="no list of groups",
         claims={"groups": ..., "urn:zitadel:iam:org:project:roles": {"ml-dev": {"1": "example.com"}}},
         settings={"groups_claim": "urn:zitadel:iam:org:project:roles"}),
    _set("Zitadel", "flat roles by an action", claims={"groups": ..., "flatRoles": ["ml-dev"]},
         settings={"groups_claim": "flatRoles"}),
    _set("Dex", "LDAP connector", claims={"groups": ["ml-dev"], "federated_claims": {"connector_id": "ldap"}}),
    _set("Authentik", "groups by the profile scope", claims={"groups": ["ml-dev", "authentik Admins"], "nickname": "ann"}),
    _set("JumpCloud", "memberOf", claims={"groups": ..., "memberOf": ["ml-dev"]}, settings={"groups_claim": "memberOf"}),
    _set("OneLogin", "groups by AD name", claims={"groups": ["ml-dev"], "preferred_username": "ann@example.com"}),
    _set("GitLab", "groups_direct", claims={"groups": ..., "groups_direct": ["ml-dev"]},
         settings={"groups_claim": "groups_direct"}),
    _set("any", "a name in another Unicode form", claims={"groups": ["ml-pru\u0308fer"]}, group="ml-pr\u00fcfer"),
    _set("any", "names keep their case", claims={"groups": ["ML-DEV"]}, member=False, brought=1),
    _set("any", "a comma is no separator unless set", claims={"groups": "ml-dev,staff"}, member=False, brought=1),
    _set("any", "a distinguished name in another case", claims={"groups": [DN.lower()]}, group=DN),
    _set("any", "a distinguished name with blanks", claims={"groups": [DN.replace(",", ", ")]}, group=DN),
    _set("any", "numbers are no groups", claims={"groups": [1, 2]}, refused="no list of groups"),
    _set("any", "a null claim", claims={"groups": None}, refused="no claim “groups”"),
    _set("any", "userinfo of somebody else", claims={"groups": ...}, userinfo={"sub": "eve", "groups": ["ml-dev"]},
         refused="another person"),
    _set("any", "the ID token's claims before userinfo's", claims={"groups": ["staff"], "email": ...},
         userinfo={"sub": "subject-of-ann", "groups": ["ml-dev"]}, member=False),
    _set("any", "a dotted name that exists as a whole", claims={"groups": ..., "a.b": ["ml-dev"], "a": {"b": ["staff"]}},
         settings={"groups_claim": "a.b"}),
    _set("any", "unverified as text", claims={"email_verified": "false"}, email=""),
    _set("any", "mail that nobody verified, as a user name in capitals",
         claims={"email": "dee@example.com", "email_verified": False, "preferred_username": " Dee@Example.com"}, email=""),
    _set("any", "the UPN where mail is not verified", claims={"email_verified": False, "upn": "a@corp.example.com"},
         email="a@corp.example.com"),
)  # fmt: skip
