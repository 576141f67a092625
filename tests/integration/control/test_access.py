"""Tokens and roles before the REST API, and TLS around it."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mesh_core.control.access import new_token
from mesh_core.lab.certs import Authority
from tests.integration.control.objects import SET
from tests.integration.control.plane import ControlPlane

TOKENS = {name: new_token() for name in ("ada", "shop-ci", "eve")}
RATE_LIMIT = SET[SET.index("apiVersion: midstream/v1\nkind: RateLimit") : SET.index("---\napiVersion: midstream/v1\nkind: Fault")]
CHANGE = [("POST", f"/v1/{verb}") for verb in ("apply", "plan", "delete", "rollback")]
READ = [("GET", path) for path in ("/v1/objects", "/v1/status", "/v1/history", "/v1/diff", "/openapi.json")]


def rights(*names: str) -> str:
    """An access file with these people."""
    roles = {"ada": "[editor]", "shop-ci": "[limits]", "eve": "[viewer]"}
    people = "".join(f"  - {{name: {name}, tokenSha256: {TOKENS[name][1]}, roles: {roles[name]}}}\n" for name in names)
    return f"people:\n{people}roles:\n  limits: [{{verbs: [read, apply], kinds: [RateLimit], names: ['lim*']}}]\n"


class Guarded:
    def __init__(self, plane: ControlPlane, file: Path):
        self.plane, self.file = plane, file

    def ask(self, method: str, path: str, who: str = "", body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKENS[who][0]}"} if who else {}
        return httpx.request(method, f"http://{self.plane.rest}{path}", headers=headers, json=body, timeout=10)

    def apply(self, who: str, text: str) -> httpx.Response:
        return self.ask("POST", "/v1/apply", who, {"sources": [{"file": "shop.yaml", "text": text}], "author": "somebody else"})


@pytest.fixture
def guarded(control: Callable[..., ControlPlane], tmp_path: Path) -> Guarded:
    file = tmp_path / "access.yaml"
    file.write_text(rights("ada", "shop-ci", "eve"))
    plane = control("--store", str(tmp_path / "control.db"), "--access", str(file))
    return Guarded(plane, file)


def test_nobody_gets_in_without_a_token(guarded: Guarded):
    for method, path in CHANGE + READ:
        for header in ("", "Bearer", "Bearer nonsense", f"Basic {TOKENS['ada'][0]}", f"Bearer {'x' * 100_000}"[:8000]):
            answer = httpx.request(method, f"http://{guarded.plane.rest}{path}", headers={"Authorization": header} if header else {}, timeout=10)
            assert answer.status_code == 401, (path, header, answer.text)
    assert guarded.ask("GET", "/ready").status_code == 200


def test_roles_say_who_may_do_what(guarded: Guarded):
    assert guarded.apply("eve", SET).json()["error"].startswith("eve may not apply")
    assert guarded.apply("shop-ci", SET).status_code == 403
    assert guarded.ask("GET", "/v1/objects", "ada").json()["revision"] == 0, "nothing was changed"
    assert guarded.apply("ada", SET).status_code == 200
    more = RATE_LIMIT.replace("requests: 20", "requests: 30")
    assert guarded.apply("shop-ci", more).status_code == 200
    for verb, body in (("delete", {"objects": [{"kind": "RateLimit", "name": "limit"}]}), ("rollback", {"revision": 1})):
        answer = guarded.ask("POST", f"/v1/{verb}", "shop-ci", body)
        assert (answer.status_code, f"shop-ci may not {verb} RateLimit limit" in answer.text) == (403, True)
    history = guarded.ask("GET", "/v1/history", "ada").json()["changes"]
    assert [change["author"] for change in history] == ["shop-ci", "ada"], "who it is, not who they say they are"


def test_what_may_not_be_read_is_not_shown(guarded: Guarded):
    guarded.apply("ada", SET)
    assert len(guarded.ask("GET", "/v1/objects", "eve").json()["objects"]) > 1
    seen = guarded.ask("GET", "/v1/objects", "shop-ci").json()["objects"]
    assert [found["object"]["kind"] for found in seen] == ["RateLimit"]
    assert [change["kind"] for change in guarded.ask("GET", "/v1/diff", "shop-ci").json()["changes"]] == ["RateLimit"]
    assert guarded.ask("GET", "/v1/history", "shop-ci").json()["changes"][0]["put"] == [["RateLimit", "limit"]]


def test_a_token_is_taken_back_while_it_runs(guarded: Guarded):
    assert guarded.ask("GET", "/v1/objects", "eve").status_code == 200
    guarded.file.write_text(rights("ada"))
    assert guarded.ask("GET", "/v1/objects", "eve").status_code == 401
    guarded.file.write_text("people: nonsense")
    assert guarded.ask("GET", "/v1/objects", "ada").status_code == 200, "the last good file stays in force"
    guarded.plane.log_has("access file refused", 10)


def test_a_wrong_access_file_starts_nothing(tmp_path: Path):
    file = tmp_path / "access.yaml"
    file.write_text(rights("ada").replace("[editor]", "[emperor]"))
    plane = ControlPlane(tmp_path, "--store", str(tmp_path / "control.db"), "--access", str(file))
    with pytest.raises(
        AssertionError, match=r"access\.yaml is no access file: .*people\[0\]\.roles: there is no role emperor; known are editor, limits"
    ):
        plane.start()
    assert plane.process is not None
    assert plane.process.wait(10) == 2
    assert TOKENS["ada"][1] not in plane.log


def test_the_commands_speak_tls_and_bring_their_token(guarded: Guarded, control: Callable[..., ControlPlane], tmp_path: Path):
    pair = Authority(tmp_path).issue("control")
    plane = control(
        "--store", str(tmp_path / "tls.db"), "--access", str(guarded.file), "--rest-cert", str(pair.certificate), "--rest-key", str(pair.key)
    )
    where = {"MIDSTREAM_CONTROL": f"https://{plane.rest}", "MIDSTREAM_CA": str(tmp_path / "ca.crt")}
    for name, (environment, said) in {
        "all is there": (where | {"MIDSTREAM_TOKEN": TOKENS["ada"][0]}, "[]"),
        "no token": (where, "send `Authorization: Bearer TOKEN`"),
        "not trusted": (where | {"MIDSTREAM_CA": ""}, "certificate verify failed"),
    }.items():
        found = plane.run("get", "-o", "json", environment=environment)
        assert said in found.stdout + found.stderr, name
