"""Sign-in with an OpenID Connect provider: authorization code with PKCE, and checks of the ID token's claims.

OpenID Connect Core 1.0: https://openid.net/specs/openid-connect-core-1_0.html, section 3.1.
"""

from __future__ import annotations

from promotion.aws.identity.discovery import ALGORITHMS, TIMEOUT_S
from promotion.aws.identity.provider import IdentityProvider

__all__ = ["ALGORITHMS", "TIMEOUT_S", "IdentityProvider"]
