"""A small issuer of tokens: what an identity provider does, for tests."""

import base64
import json
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://issuer.test"
AUDIENCE = "kafka"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(**claims: object) -> str:
    """As Kafka's own unsecured tokens are."""
    return f"{encoded(json.dumps({'alg': 'none'}).encode())}.{encoded(json.dumps(claims).encode())}."


class Issuer:
    """Signs with ES256 (`kid` one) and RS256 (`kid` two)."""

    def __init__(self) -> None:
        self._curve = ec.generate_private_key(ec.SECP256R1())
        self._rsa = rsa.generate_private_key(65537, 2048)

    def write_keys(self, path: Path) -> Path:
        """The JWK set."""
        point, modulus = self._curve.public_key().public_numbers(), self._rsa.public_key().public_numbers()
        number = lambda value: encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))  # noqa: E731
        coordinate = lambda value: encoded(value.to_bytes(32, "big"))  # noqa: E731
        keys = [
            {"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "x": coordinate(point.x), "y": coordinate(point.y)},
            {"kty": "RSA", "kid": "two", "alg": "RS256", "n": number(modulus.n), "e": number(modulus.e)},
        ]
        path.write_text(json.dumps({"keys": keys}))
        return path

    def token(self, user: str = "ann", *, algorithm: str = "ES256", lifetime_s: float = 3600, **changed: object) -> str:
        """A good one; `changed` claims take the place of its own, None leaves one out."""
        now = time.time()
        claims = {"sub": user, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s, "scope": "read write", **changed}
        head = {"alg": algorithm, "kid": "one" if algorithm == "ES256" else "two"}
        given = {name: value for name, value in claims.items() if value is not None}
        signed = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(given).encode())}"
        return f"{signed}.{encoded(self._sign(algorithm, signed.encode()))}"

    def _sign(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "RS256":
            return self._rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._curve.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
