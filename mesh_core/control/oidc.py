"""People by OpenID Connect: tokens (JWT) that a provider has signed, checked by the keys it publishes.

The provider's keys are found by discovery, kept, and fetched again when they are old or a token names a key that is not among them; how often is
bounded, so that made-up tokens do not become requests to it. The signatures are checked by PyJWT.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import httpx

from mesh_core.control.rights import Issuer, Principal, Rights, private

# What providers sign with; none that a published key could be mistaken for the secret of.
ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
CLOCK_SKEW_S = 60
# Providers announce a key before they use it, or use it at once: then the first token with it makes us ask.
KEYS_FRESH_S = 600.0
# While a provider cannot be reached its keys are believed so long.
KEYS_GOOD_S = 3600.0
ASK_EVERY_S = 10.0
ASK_WITHIN_S = 5.0
MAX_ANSWER_BYTES = 512 * 1024
MAX_KEYS = 64
MAX_NAME = 256  # characters


class NotTrusted(Exception):
    """A token that is not believed; the text says why."""


class Provider:
    """One issuer's. `before` is the one of the access file's last reading: its keys are kept."""

    def __init__(self, issuer: Issuer, rights: Rights, before: "Provider | None" = None, clock: Callable[[], float] = time.monotonic):
        self._issuer, self._rights, self._clock = issuer, rights, clock
        self._keys: dict[str, Any] = before._keys if before else {}  # jwt.PyJWK by key id
        self._fetched = before._fetched if before else -KEYS_GOOD_S
        self._asked = before._asked if before else -ASK_EVERY_S
        self._problem = "it was not asked yet"
        self._asking = asyncio.Lock()
        try:
            import jwt  # noqa: F401
        except ImportError as error:
            raise ValueError("issuers: need PyJWT; install midstream[oidc]") from error

    async def principal(self, token: str) -> Principal:
        """Who this is. Raises NotTrusted."""
        import jwt

        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[ALGORITHMS[key.key_type]],
                issuer=self._issuer.issuer,
                audience=self._issuer.audience,
                leeway=CLOCK_SKEW_S,
                options={"require": ["exp", "iss", "aud", self._issuer.name_claim]},
            )
        except jwt.InvalidTokenError as error:
            raise NotTrusted(f"this token of {self._issuer.name} is not accepted: {error}") from error
        return self._whose(claims)

    def _whose(self, claims: dict[str, Any]) -> Principal:
        issuer = self._issuer
        name = claims[issuer.name_claim]
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise NotTrusted(f"this token's {issuer.name_claim} is no name")
        given = claims.get(issuer.roles_claim, [])
        values = [value for value in (given if isinstance(given, list) else [given]) if isinstance(value, str)]
        roles = [role for pattern, found in issuer.roles.items() if any(fnmatchcase(value, pattern) for value in values) for role in found]
        return Principal(f"{issuer.name}:{name}", self._rights.rules(dict.fromkeys(roles)))

    async def _key(self, name: str) -> Any:
        async with self._asking:
            now = self._clock()
            if (name not in self._keys or now - self._fetched > KEYS_FRESH_S) and now - self._asked >= ASK_EVERY_S:
                self._asked = now
                await self._fetch()
            if now - self._fetched > KEYS_GOOD_S:
                raise NotTrusted(f"the keys of {self._issuer.issuer} cannot be had: {self._problem}; try again when it answers")
            if name not in self._keys:
                raise NotTrusted(f"this token is signed with a key ({name[:100] or 'without a name'}) that {self._issuer.issuer} does not publish")
            return self._keys[name]

    async def _fetch(self) -> None:
        """What is wrong with the answers is remembered, and the keys stay as they are."""
        try:
            async with asyncio.timeout(ASK_WITHIN_S), httpx.AsyncClient(follow_redirects=False) as client:
                found = await _get(client, self._issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
                if found.get("issuer") != self._issuer.issuer:
                    raise ValueError(f"it calls itself {found.get('issuer')!r}")
                uri = private(str(found.get("jwks_uri", "")))
                self._keys = _keys(await _get(client, uri))
                self._fetched = self._clock()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
            self._problem = str(error) or type(error).__name__


def issuer_of(token: str) -> str:
    """Who a token says it is of; nothing is believed yet. Raises NotTrusted."""
    import jwt

    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.InvalidTokenError as error:
        raise NotTrusted(f"this is no token: {error}") from error


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        text = bytearray()
        async for piece in answer.aiter_bytes():
            text += piece
            if len(text) > MAX_ANSWER_BYTES:
                raise ValueError(f"{url} answers more than {MAX_ANSWER_BYTES} bytes")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers no object")
    return found


def _keys(published: dict[str, Any]) -> dict[str, Any]:
    """Those that sign as we know it, by their ids."""
    import jwt

    found = {}
    for one in published.get("keys", [])[:MAX_KEYS]:
        if not isinstance(one, dict) or one.get("kty") not in ALGORITHMS or one.get("use", "sig") != "sig" or not one.get("kid"):
            continue
        if one["kty"] == "EC" and one.get("crv") != "P-256":
            continue  # ES256 is of this curve
        with suppress(jwt.PyJWTError):  # one that is broken does not take the others with it
            found[str(one["kid"])] = jwt.PyJWK(one, algorithm=ALGORITHMS[one["kty"]])
    return found
