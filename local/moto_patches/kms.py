"""KMS: a digest is signed without another hash, and a message of more than 4,096 bytes is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
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


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    sign, verify = ECDSAPrivateKey.sign, ECDSAPrivateKey.verify

    def sign_digest(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        """Sign a digest without another hash; moto hashes it again."""
        if not _is_digest.get():
            signature: bytes = sign(self, message, signing_algorithm)
            return signature
        prehashed: bytes = self.private_key.sign(message, ec.ECDSA(Prehashed(_HASHES[signing_algorithm])))
        return prehashed

    def verify_digest(self: Any, message: bytes, signature: bytes, signing_algorithm: str) -> bool:
        if not _is_digest.get():
            return bool(verify(self, message, signature, signing_algorithm))
        try:
            self.private_key.public_key().verify(signature, message, ec.ECDSA(Prehashed(_HASHES[signing_algorithm])))
        except InvalidSignature:
            return False
        return True

    ECDSAPrivateKey.sign = sign_digest
    ECDSAPrivateKey.verify = verify_digest
    KmsResponse.sign = _checked(KmsResponse.sign)
    KmsResponse.verify = _checked(KmsResponse.verify)


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
