"""Talks to a control plane's REST API, for the command line and for programs.

Over the standard library: a command's own start is most of the time until its change is in force, and an HTTP package would be a third of it.
"""

import json
import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mesh_core.model.problem import Invalid, Problem

DEFAULT_REST = "127.0.0.1:18001"
# An apply waits for one fsync and one validation of the whole set.
TIMEOUT_S = 30.0


class Unreachable(Exception):
    """No control plane answers; the text says where it was sought."""


class Failed(Exception):
    """The control plane answered with an error that is not about the objects' content."""


def address() -> str:
    """From MIDSTREAM_CONTROL, "host:port" or "https://host:port"."""
    return os.environ.get("MIDSTREAM_CONTROL") or DEFAULT_REST


class RestClient:
    """Raises Unreachable, Failed, and Invalid where objects are refused."""

    def __init__(self, where: str = ""):
        found = (where or address()).rstrip("/")
        self._is_tls = found.startswith("https://")
        self._where = found.removeprefix("https://").removeprefix("http://")

    def apply(self, sources: list[dict[str, str]], **more: Any) -> dict:
        return self._call("POST", "/v1/apply", {"sources": sources} | more)

    def delete(self, keys: list[tuple[str, str]], **more: Any) -> dict:
        return self._call("POST", "/v1/delete", {"objects": [{"kind": kind, "name": name} for kind, name in keys]} | more)

    def plan(self, sources: list[dict[str, str]]) -> dict:
        return self._call("POST", "/v1/plan", {"sources": sources})

    def start_rollout(self, sources: list[dict[str, str]], steps: list[str], **more: Any) -> dict:
        return self._call("POST", "/v1/rollout", {"sources": sources, "steps": steps} | more)

    def rollout(self) -> dict:
        return self._call("GET", "/v1/rollout")

    def steer_rollout(self, verb: str) -> dict:
        return self._call("POST", f"/v1/rollout/{verb}", {})

    def rollback(self, revision: int, **more: Any) -> dict:
        return self._call("POST", "/v1/rollback", {"revision": revision} | more)

    def history(self, limit: int) -> dict:
        return self._call("GET", f"/v1/history?{urlencode({'limit': limit})}")

    def audit(self, limit: int) -> dict:
        return self._call("GET", f"/v1/audit?{urlencode({'limit': limit})}")

    def verify(self, noted: str) -> dict:
        return self._call("GET", f"/v1/audit/verify?{urlencode({'noted': noted})}")

    def diff(self, since: int | None, until: int | None) -> dict:
        query = urlencode({key: value for key, value in {"from": since, "to": until}.items() if value is not None})
        return self._call("GET", f"/v1/diff?{query}")

    def objects(self, kind: str = "", name: str = "") -> dict:
        query = urlencode({key: value for key, value in {"kind": kind, "name": name}.items() if value})
        return self._call("GET", f"/v1/objects?{query}")

    def status(self, node: str = "") -> dict:
        return self._call("GET", f"/v1/status?{urlencode({'node': node})}")

    def _call(self, method: str, path: str, body: object = None) -> dict:
        status, text = self._exchange(method, path, None if body is None else json.dumps(body).encode())
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise Failed(f"{self._where} is not a control plane: it answered {status} without JSON") from error
        if status == 422:
            raise Invalid(Problem(**problem) for problem in answer["problems"])
        if status >= 400:
            raise Failed(answer.get("error", f"HTTP {status}"))
        return answer

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            connection = self._connection()
            try:
                headers = {"Content-Type": "application/json"} if body is not None else {}
                if token := os.environ.get("MIDSTREAM_TOKEN"):
                    headers["Authorization"] = f"Bearer {token}"
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()
        except (OSError, HTTPException) as error:
            raise Unreachable(f"no control plane answers on {self._where} ({error}); start one, or set MIDSTREAM_CONTROL") from error

    def _connection(self) -> HTTPConnection:
        if not self._is_tls:
            return HTTPConnection(self._where, timeout=TIMEOUT_S)
        context = ssl.create_default_context(cafile=os.environ.get("MIDSTREAM_CA") or None)
        return HTTPSConnection(self._where, timeout=TIMEOUT_S, context=context)


def sources_of(paths: list[Path], stdin: str | None) -> list[dict[str, str]]:
    """The texts of files and of the .yaml files of folders; "-" is `stdin`. Raises Invalid for what cannot be read."""
    sources = []
    for path in paths:
        if str(path) == "-":
            sources.append({"file": "stdin", "text": stdin or ""})
        else:
            sources += [_read(file) for file in _files(path)]
    return sources


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in (".yaml", ".yml") and file.is_file())
    if not found:
        raise Invalid([Problem(str(path), 0, "", "", "", "holds no .yaml file", "name a folder that does, or a file")])
    return found


def _read(path: Path) -> dict[str, str]:
    try:
        return {"file": str(path), "text": path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid([Problem(str(path), 0, "", "", "", f"cannot be read: {error}")]) from error
