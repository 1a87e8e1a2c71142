"""KMS: a digest isn't hashed again, and a message of more than 4,096 bytes and an invalid signature are refused."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey

_LARGEST_MESSAGE = 4096
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "ECDSA_SHA_256": hashes.SHA256(),
    "ECDSA_SHA_384": hashes.SHA384(),
    "ECDSA_SHA_512": hashes.SHA512(),
}
_is_digest: ContextVar[bool] = ContextVar("is_digest", default=False)


class _SignatureInvalid(JsonRESTError):  # type: ignore[misc,unused-ignore]
    code = 400

    def __init__(self) -> None:
        super().__init__("KMSInvalidSignatureException", "")


def mend() -> None:
    """Replace moto's operations with the patched ones."""

    def sign(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        signature: bytes = self.private_key.sign(message, _algorithm(signing_algorithm))
        return signature

    def verify(self: Any, message: bytes, signature: bytes, signing_algorithm: str) -> bool:
        """Raise an error for an invalid signature, as AWS does; moto returns False."""
        try:
            self.private_key.public_key().verify(signature, message, _algorithm(signing_algorithm))
        except InvalidSignature:
            raise _SignatureInvalid from None
        return True

    ECDSAPrivateKey.sign = sign
    ECDSAPrivateKey.verify = verify
    KmsResponse.sign = _checked(KmsResponse.sign)
    KmsResponse.verify = _checked(KmsResponse.verify)


def _algorithm(name: str) -> ec.ECDSA:
    """Return the algorithm for a message, or for a digest, which moto would hash again."""
    return ec.ECDSA(Prehashed(_HASHES[name]) if _is_digest.get() else _HASHES[name])


def _checked(operation: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(self: Any) -> Any:
        message = self._get_param("Message") or b""
        is_digest = self._get_param("MessageType") == "DIGEST"
        algorithm = _HASHES.get(self._get_param("SigningAlgorithm"))
        if is_digest and algorithm is not None and len(message) != algorithm.digest_size:
            raise ValidationException(f"Digest is invalid length for algorithm {self._get_param('SigningAlgorithm')}.")
        if len(message) > _LARGEST_MESSAGE:
            raise ValidationException(
                "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length "
                f"less than or equal to {_LARGEST_MESSAGE}"
            )
        token = _is_digest.set(is_digest)
        try:
            return operation(self)
        finally:
            _is_digest.reset(token)

    return checked
