"""A small OpenID provider: discovery and keys over HTTP, and tokens."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class Issuer:
    """`keys` are published by their names; `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {"rsa": new_rsa()}
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}  # by path, instead of what is right
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = json.dumps(issuer.answers.get(self.path) or issuer._answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def token(self, key: str = "rsa", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Of ada, who is of the group platform, for five minutes; a claim that is None is left out."""
        now = int(time.time())
        whole = {"iss": self.url, "aud": "midstream", "sub": "ada", "groups": ["platform"], "iat": now, "exp": now + 300} | claims
        signing = self.keys[key]
        algorithm = "RS256" if isinstance(signing, rsa.RSAPrivateKey) else "ES256"
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, signing, algorithm, headers={"kid": key} | (headers or {}))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> dict[str, Any]:
        if path == "/keys":
            return {"keys": [_published(name, key) for name, key in self.keys.items()]}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}


def new_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def new_ec() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _published(name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}  # type: ignore[arg-type]
