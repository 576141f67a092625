"""A small server that speaks of custom resources as the Kubernetes API does: lists with a version, watches from one on, 410 Gone, ends of watches.

It is no Kubernetes: no validation, no access control, one namespace. Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.
"""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mesh_core.control.crds import GROUP, VERSION, plural
from mesh_core.model.kinds import Kinds


class KubernetesApi:
    """`put`, `touch` and `delete` change objects; `forget` compacts; `end_watches` breaks connections."""

    def __init__(self, kinds: Kinds):
        self._plurals = {plural(kind): kind for kind in kinds.kinds}
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._events: list[tuple[int, str, dict[str, Any]]] = []  # version, plural, event
        self._version, self._oldest, self._epoch = 1, 0, 0
        self._changed = threading.Condition()
        self.lists: list[str] = []  # which kinds were listed
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def put(self, kind: str, name: str, spec: dict[str, Any], **more: Any) -> None:
        with self._changed:
            before = self._objects.get((plural(kind), name))
            metadata = {"name": name, "namespace": "mesh", "uid": f"{kind}/{name}", "managedFields": [{"manager": "kubectl"}]}
            found = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": metadata, "spec": spec} | more
            self._happen(plural(kind), "MODIFIED" if before else "ADDED", found)
            self._objects[plural(kind), name] = found

    def touch(self, kind: str, name: str) -> None:
        """Something in the cluster writes a status."""
        spec = self._objects[plural(kind), name]["spec"]
        self.put(kind, name, spec, status={"seen": self._version})

    def delete(self, kind: str, name: str) -> None:
        with self._changed:
            self._happen(plural(kind), "DELETED", self._objects.pop((plural(kind), name)))

    def forget(self) -> None:
        """No watch can begin before now any more."""
        with self._changed:
            self._oldest = self._version
            self._events.clear()

    def end_watches(self) -> None:
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    def stop(self) -> None:
        self.end_watches()
        self._server.shutdown()
        self._server.server_close()

    def _happen(self, where: str, kind: str, found: dict[str, Any]) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, where, {"type": kind, "object": json.loads(json.dumps(found))}))
        self._changed.notify_all()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        prefix, _, where = url.path.rpartition("/")
        if prefix != f"/apis/{GROUP}/{VERSION}/namespaces/mesh" or where not in self._plurals:
            _answer(request, 404, {"kind": "Status", "code": 404, "reason": "NotFound"})
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if query.get("watch") == "true":
            self._watch(request, where, int(query["resourceVersion"]))
            return
        with self._changed:
            self.lists.append(self._plurals[where])
            items = [found for (kind, _), found in sorted(self._objects.items()) if kind == where]
            body = {"kind": f"{self._plurals[where]}List", "metadata": {"resourceVersion": str(self._version)}, "items": items}
        _answer(request, 200, body)

    def _watch(self, request: BaseHTTPRequestHandler, where: str, after: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        with self._changed:
            epoch = self._epoch
        try:
            while True:
                with self._changed:
                    if epoch != self._epoch:
                        return
                    if after < self._oldest:
                        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                        _chunk(request, json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                        return
                    due = [event for version, kind, event in self._events if kind == where and version > after]
                    after = self._version
                    if not due:
                        self._changed.wait()
                        continue
                for event in due:
                    _chunk(request, json.dumps(event).encode() + b"\n")
        except OSError:
            pass  # the client has gone
        finally:
            with suppress(OSError):
                _chunk(request, b"")
            request.close_connection = True


def _chunk(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _answer(request: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
