"""People who log in elsewhere: tokens of an OpenID provider before the REST API."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from mesh_core.control import oidc
from mesh_core.control.access import Access, Unauthorized
from mesh_core.control.oidc import ASK_EVERY_S, KEYS_FRESH_S, KEYS_GOOD_S, NotTrusted, Provider
from mesh_core.control.rights import Principal, Rights
from tests.integration.control.issuer import Issuer, new_ec, new_rsa
from tests.integration.control.objects import SET


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    yield found
    found.stop()


def file(issuer: Issuer, folder: Path) -> Path:
    (path := folder / "access.yaml").write_text(f"""\
issuers:
  - name: corp
    issuer: {issuer.url}
    audience: midstream
    roles: {{platform: [editor], "shop-*": [limits]}}
roles:
  limits: [{{verbs: [read, apply], kinds: [RateLimit]}}]
""")
    return path


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(issuer: Issuer, clock: Clock) -> Provider:
    entry = {"name": "corp", "issuer": issuer.url, "audience": "midstream", "roles": {"platform": ["editor"], "shop-*": ["viewer"]}}
    rights = Rights.model_validate({"issuers": [entry]})
    return Provider(rights.issuers[0], rights, clock=clock)


def test_who_logs_in_elsewhere_has_the_roles_of_their_groups(control, issuer: Issuer, tmp_path: Path):
    plane = control("--store", str(tmp_path / "control.db"), "--access", str(file(issuer, tmp_path)))

    def ask(path: str, token: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request("POST" if body else "GET", f"http://{plane.rest}{path}", headers=headers, json=body, timeout=10)

    change = {"sources": [{"file": "shop.yaml", "text": SET}]}
    for token, status, said in (
        (issuer.token(sub="eve", groups=["shop-1"]), 403, "corp:eve may not apply"),
        (issuer.token(sub="mallory", groups="elsewhere"), 403, "corp:mallory may not apply"),
        (issuer.token(exp=int(time.time()) - 3600), 401, "this token of corp is not accepted: Signature has expired"),
        (issuer.token(), 200, "created"),
    ):
        answer = ask("/v1/apply", token, change)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text
    history = plane.run("history", "-o", "json", environment={"MIDSTREAM_TOKEN": issuer.token()})
    assert '"author": "corp:ada"' in history.stdout, history.stderr


async def test_what_is_wrong_with_a_token_is_said(issuer: Issuer, provider: Provider):
    now = int(time.time())
    assert (await provider.principal(issuer.token(exp=now - 30, nbf=now + 30))).name == "corp:ada", "clocks differ a little"
    forged = Issuer()
    forged.stop()
    published = jwt.PyJWK(issuer._answer("/keys")["keys"][0]).key.public_numbers()
    for token, said in (
        (issuer.token(aud="other"), "Audience doesn't match"),
        (issuer.token(aud=None), 'missing the "aud" claim'),
        (issuer.token(iss="https://other.example.org"), "Invalid issuer"),
        (issuer.token(exp=now - 300), "expired"),
        (issuer.token(exp=None), 'missing the "exp" claim'),
        (issuer.token(nbf=now + 300), "not yet valid"),
        (issuer.token(sub=None), 'missing the "sub" claim'),
        (issuer.token(sub="a\nb"), "sub is no name"),
        (forged.token(iss=issuer.url), "Signature verification failed"),
        (jwt.encode({"sub": "ada"}, "", "none", headers={"kid": "rsa"}), "alg"),
        (jwt.encode({"sub": "ada"}, str(published.n), "HS256", headers={"kid": "rsa"}), "alg"),
        ("a.b.c", "not accepted"),
    ):
        with pytest.raises(NotTrusted, match=said):
            await provider.principal(token)


async def test_keys_are_kept_replaced_and_asked_for_at_a_bounded_rate(issuer: Issuer, provider: Provider, clock: Clock):
    for _ in range(3):
        await provider.principal(issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    issuer.keys["next"] = new_ec()
    with pytest.raises(NotTrusted, match=r"signed with a key \(next\) that .* does not publish"):
        await provider.principal(issuer.token("next"))
    clock.now += ASK_EVERY_S
    assert (await provider.principal(issuer.token("next"))).name == "corp:ada"
    assert len(issuer.asked) == 4

    issuer.keys["lost"] = new_rsa()
    lost = issuer.token("lost")
    for _ in range(20):  # made-up names do not become requests
        with pytest.raises(NotTrusted):
            await provider.principal(lost)
    assert len(issuer.asked) == 4

    old = issuer.token()
    del issuer.keys["rsa"]
    clock.now += KEYS_FRESH_S + 1
    with pytest.raises(NotTrusted, match="does not publish"):
        await provider.principal(old)


async def test_without_its_provider_keys_hold_for_an_hour(issuer: Issuer, provider: Provider, clock: Clock):
    token = issuer.token()
    await provider.principal(token)
    issuer.stop()
    clock.now += KEYS_GOOD_S
    assert (await provider.principal(token)).name == "corp:ada"
    clock.now += ASK_EVERY_S
    with pytest.raises(NotTrusted, match=r"the keys of .* cannot be had"):
        await provider.principal(token)


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/.well-known/openid-configuration", {"issuer": "https://other.example.org"}, "it calls itself 'https://other.example.org'"),
        ("/.well-known/openid-configuration", {"issuer": "URL", "jwks_uri": "http://other.example.org/keys"}, "is not https://HOST"),
        ("/keys", {"keys": "x" * (oidc.MAX_ANSWER_BYTES + 1)}, "answers more than"),
        ("/keys", ["no object"], "answers no object"),
    ],
)
async def test_a_provider_that_answers_nonsense_is_not_believed(issuer: Issuer, provider: Provider, path: str, answer, said: str):
    issuer.answers[path] = {name: issuer.url if value == "URL" else value for name, value in answer.items()} if isinstance(answer, dict) else answer
    with pytest.raises(NotTrusted, match=said):
        await provider.principal(issuer.token())


async def test_keys_that_are_broken_or_of_another_kind_are_left_out(issuer: Issuer, provider: Provider):
    good = issuer._answer("/keys")["keys"]
    issuer.answers["/keys"] = {"keys": [{"kty": "RSA", "kid": "a", "n": "!"}, {"kty": "oct", "kid": "rsa", "k": "AAAA"}, "nonsense", *good]}
    assert (await provider.principal(issuer.token())).rules == Principal("", Rights().rules(["editor"])).rules


async def test_tokens_of_others_are_sent_away(issuer: Issuer, tmp_path: Path):
    access = Access(file(issuer, tmp_path))
    with pytest.raises(Unauthorized, match=f"issued by none of {issuer.url}"):
        await access.authenticate(f"Bearer {issuer.token(iss='https://other.example.org')}")
    assert issuer.asked == []
    (tmp_path / "access.yaml").write_text("issuers: [{name: a, issuer: 'http://corp.example.org', audience: m, roles: {a: [editor]}}]")
    with pytest.raises(ValueError, match="is not https://HOST"):
        Access(tmp_path / "access.yaml")
