"""The REST API: what `midstream apply|get|delete|status` speak, and anybody else may.

    POST   /v1/apply                 {"sources": [{"file", "text"}], "author"?, "reason"?, "dryRun"?, "together"?}    200, 409, 422 with every problem
    POST   /v1/plan                  {"sources": [{"file", "text"}]}                                     200, 422: what apply would do
    POST   /v1/rollout               {"sources", "steps": ["10%", "shop-1*"], "holdSeconds"?, "gates"?, "author"?, "reason"?}   200, 409, 422
    POST   /v1/rollout/VERB          {}: pause, resume, promote, abort                                   200, 404
    POST   /v1/delete                {"objects": [{"kind", "name"}], "author"?, "reason"?}               200, 404, 422
    POST   /v1/rollback              {"revision", "author"?, "reason"?, "dryRun"?}                       200, 404, 422
    GET    /v1/objects               ?kind= ?name=
    GET    /v1/status                ?node=
    GET    /v1/rollout                                                                                   200, 404
    GET    /v1/history               ?limit=
    GET    /v1/diff                  ?from= ?to=                                                         200, 404: a revision not kept
    GET    /v1/audit                 ?limit=
    GET    /v1/audit/verify          ?noted=NUMBER:SEAL                                                  200, with what is broken
    GET    /ready  /openapi.json

Changes are accepted as application/json only, which a web page of another origin cannot send unasked. With an access file (rights.py) every
request but /ready carries a bearer token: 401 without one, 403 where its roles do not cover what is asked; what may not be read is not shown.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mesh_core.control.access import Access, Unauthorized
from mesh_core.control.gates import USUAL, Gates
from mesh_core.control.openapi import document
from mesh_core.control.plane import Applied, ControlPlane, Source
from mesh_core.control.refusals import record_refusal
from mesh_core.control.rights import ANYBODY, Forbidden, Principal
from mesh_core.control.rollout import MAX_STEPS, Rollout, Step
from mesh_core.control.status import sidecars
from mesh_core.control.together import PREPARE_S, Phases, Unprepared
from mesh_core.model.problem import Invalid
from xds.store.base import Conflict, Entry, Gone, Head, StoreFailed
from xds.store.verify import verify

# Four of the largest files that are read at all.
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_HISTORY = 1000


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class SourceBody(Body):
    file: str = ""
    text: str


class ApplyBody(Body):
    sources: list[SourceBody] = Field(min_length=1)
    author: str = ""
    reason: str = ""
    dry_run: bool = False
    together: bool = False
    prepare_seconds: float = Field(default=PREPARE_S, gt=0, le=600)


class PlanBody(Body):
    sources: list[SourceBody] = Field(min_length=1)


class GatesBody(Body):
    """How much worse than the other sidecars: per cent of requests, and times the mean latency."""

    errors: float = Field(default=USUAL.errors, ge=0, le=100)
    refusals: float = Field(default=USUAL.refusals, ge=0, le=100)
    latency: float = Field(default=USUAL.latency, ge=1)


class RolloutBody(Body):
    sources: list[SourceBody] = Field(min_length=1)
    steps: list[str] = Field(min_length=1, max_length=MAX_STEPS)
    hold_seconds: float = Field(default=10, ge=0, le=86400)
    gates: GatesBody | None = Field(default_factory=GatesBody)  # null: none
    author: str = ""
    reason: str = ""


class RollbackBody(Body):
    revision: int = Field(ge=0)
    author: str = ""
    reason: str = ""
    dry_run: bool = False


class KeyBody(Body):
    kind: str
    name: str


class DeleteBody(Body):
    objects: list[KeyBody] = Field(min_length=1)
    author: str = ""
    reason: str = ""


class NoBody(Body):
    """{}"""


BODIES: dict[str, type[BaseModel]] = {
    "Apply": ApplyBody, "Plan": PlanBody, "Rollout": RolloutBody, "Delete": DeleteBody, "Rollback": RollbackBody, "NoBody": NoBody,
}  # fmt: skip


class Refused(Exception):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: int, error: str):
        super().__init__(error)
        self.status = status


def app(plane: ControlPlane, access: Access | None = None) -> Starlette:
    """Without `access` anybody who reaches it may do everything."""
    api = Api(plane, access)
    routes = [
        Route("/v1/apply", _guarded(api.apply), methods=["POST"]),
        Route("/v1/plan", _guarded(api.plan), methods=["POST"]),
        Route("/v1/delete", _guarded(api.delete), methods=["POST"]),
        Route("/v1/rollback", _guarded(api.rollback), methods=["POST"]),
        Route("/v1/rollout", _guarded(api.start_rollout), methods=["POST"]),
        Route("/v1/rollout", _guarded(api.rollout)),
        Route("/v1/rollout/{verb}", _guarded(api.steer_rollout), methods=["POST"]),
        Route("/v1/objects", _guarded(api.objects)),
        Route("/v1/status", _guarded(api.status)),
        Route("/v1/history", _guarded(api.history)),
        Route("/v1/diff", _guarded(api.diff)),
        Route("/v1/audit", _guarded(api.audit)),
        Route("/v1/audit/verify", _guarded(api.verify)),
        Route("/openapi.json", _guarded(api.openapi)),
        Route("/ready", api.ready),
    ]
    return Starlette(routes=routes)


class Api:
    """Thin: everything is decided in ControlPlane."""

    def __init__(self, plane: ControlPlane, access: Access | None):
        self._plane = plane
        self._access = access

    async def _who(self, request: Request) -> Principal:
        """Raises Unauthorized."""
        return ANYBODY if self._access is None else await self._access.authenticate(request.headers.get("authorization", ""))

    async def apply(self, request: Request) -> Response:
        who = await self._who(request)
        body = await _body(request, ApplyBody)
        sources = [Source(source.file, source.text) for source in body.sources]
        author, permit = who.name or body.author, lambda applied: who.require("apply", (*applied.created, *applied.changed))
        phases = Phases(body.together, body.prepare_seconds)
        async with self._recorded("apply", author, body):
            applied = await self._plane.apply(sources, author=author, reason=body.reason, dry_run=body.dry_run, permit=permit, phases=phases)
        return JSONResponse(_applied(applied))

    async def plan(self, request: Request) -> Response:
        who = await self._who(request)
        body = await _body(request, PlanBody)
        plan = await self._plane.plan([Source(source.file, source.text) for source in body.sources])
        who.require("read", ((change.kind, change.name) for change in plan.objects))
        nodes = [node for node, connection in self._plane.hub.nodes.items() if connection.open]
        more = {"objects": [asdict(change) for change in plan.objects], "resources": [asdict(change) for change in plan.resources]}
        return JSONResponse({"applied": _applied(plan.applied), "sidecars": nodes, "clients": plan.clients} | more)

    async def start_rollout(self, request: Request) -> Response:
        who = await self._who(request)
        body = await _body(request, RolloutBody)
        try:
            steps = [Step(text) for text in body.steps]
        except ValueError as error:
            raise Refused(400, str(error)) from error
        sources = [Source(source.file, source.text) for source in body.sources]
        gates = Gates(body.gates.errors, body.gates.refusals, body.gates.latency) if body.gates else None
        author, permit = who.name or body.author, lambda applied: who.require("apply", (*applied.created, *applied.changed))
        async with self._recorded("rollout", author, body):
            started = await self._plane.try_out(sources, steps, body.hold_seconds, gates=gates, author=author, reason=body.reason, permit=permit)
        return JSONResponse(started.as_json())

    async def rollout(self, request: Request) -> Response:
        await self._who(request)
        return JSONResponse(self._latest_rollout().as_json())

    async def steer_rollout(self, request: Request) -> Response:
        who = await self._who(request)
        await _body(request, NoBody)
        rollout, verb = self._latest_rollout(), request.path_params["verb"]
        who.require("apply", rollout.keys)
        verbs = {
            "pause": lambda: rollout.pause(True),
            "resume": lambda: rollout.pause(False),
            "promote": rollout.promote,
            "abort": lambda: rollout.abort(f"aborted by {who.name or 'hand'}"),
        }
        if verb not in verbs:
            raise Refused(404, f"a rollout knows {', '.join(verbs)}, not {verb}")
        if not rollout.is_under_way:
            raise Refused(409, f"the latest rollout is {rollout.phase} already")
        verbs[verb]()
        return JSONResponse(rollout.as_json())

    def _latest_rollout(self) -> Rollout:
        if self._plane.rollout is None:
            raise Refused(404, "there was no rollout since this control plane started")
        return self._plane.rollout

    async def rollback(self, request: Request) -> Response:
        who = await self._who(request)
        body = await _body(request, RollbackBody)
        author, permit = who.name or body.author, lambda applied: who.require("rollback", (*applied.created, *applied.changed, *applied.deleted))
        async with self._recorded("rollback", author, body):
            applied = await self._plane.rollback(body.revision, author=author, reason=body.reason, dry_run=body.dry_run, permit=permit)
        return JSONResponse(_applied(applied))

    async def delete(self, request: Request) -> Response:
        who = await self._who(request)
        body = await _body(request, DeleteBody)
        keys = [(item.kind, item.name) for item in body.objects]
        author = who.name or body.author
        async with self._recorded("delete", author, body):
            who.require("delete", keys)
            try:
                applied = await self._plane.delete(keys, author=author, reason=body.reason)
            except KeyError as error:
                raise Refused(404, str(error.args[0])) from error
        return JSONResponse(_applied(applied))

    async def objects(self, request: Request) -> Response:
        kind, name = request.query_params.get("kind"), request.query_params.get("name")
        who, contents = await self._who(request), self._plane.contents
        found = [
            entry for entry in contents.entries.values() if kind in (None, entry.kind) and name in (None, entry.name) and who.may("read", entry.key)
        ]
        return JSONResponse({"revision": contents.revision, "objects": [_object(entry) for entry in found]})

    async def status(self, request: Request) -> Response:
        who, plane = await self._who(request), self._plane
        found = sidecars(plane.hub, plane.blame_for, request.query_params.get("node", ""))
        for sidecar in found:
            sidecar["objects"] = [item for item in sidecar["objects"] if who.may("read", (item["kind"], item["name"]))]
        return JSONResponse({"revision": plane.contents.revision, "version": plane.hub.snapshot.version, "sidecars": found})

    async def history(self, request: Request) -> Response:
        who = await self._who(request)
        changes = await self._plane.store.history(min(_number(request, "limit", 20), MAX_HISTORY))
        seen = [
            replace(change, **{side: tuple(key for key in getattr(change, side) if who.may("read", key)) for side in ("put", "removed")})
            for change in changes
        ]
        return JSONResponse({"changes": [asdict(change) for change in seen if change.put or change.removed]})

    async def diff(self, request: Request) -> Response:
        who = await self._who(request)
        until = _number(request, "to", self._plane.contents.revision)
        since = _number(request, "from", max(0, until - 1))
        changes = await self._plane.difference(since, until)
        seen = [asdict(change) for change in changes if who.may("read", (change.kind, change.name))]
        return JSONResponse({"from": since, "to": until, "changes": seen})

    async def audit(self, request: Request) -> Response:
        (await self._who(request)).require_all("read")
        log = await self._plane.store.audit()
        limit = min(_number(request, "limit", 20), MAX_HISTORY)
        latest = reversed(log.records[-limit:] if limit else ())
        return JSONResponse({"records": [record.told | {"number": record.number, "seal": record.seal} for record in latest]})

    async def verify(self, request: Request) -> Response:
        (await self._who(request)).require_all("read")
        number, _, seal = request.query_params.get("noted", "").partition(":")
        if number and not (number.isdecimal() and seal):
            raise Refused(400, "a noted record is NUMBER:SEAL, as `midstream audit --verify` prints it")
        found = await verify(self._plane.store, Head(int(number), seal) if number else None)
        return JSONResponse({"broken": found.broken, "anchor": asdict(found.anchor), "head": asdict(found.head)})

    @asynccontextmanager
    async def _recorded(self, action: str, author: str, body: Any) -> AsyncIterator[None]:
        """What is refused goes into the audit log; what is done goes there with the change itself."""
        try:
            yield
        except (Refused, Forbidden, Invalid, Gone, Conflict, Unprepared, StoreFailed) as error:
            if not getattr(body, "dry_run", False):
                await record_refusal(self._plane.store, self._plane.contents.revision, action, author, str(error))
            raise

    async def openapi(self, request: Request) -> Response:
        await self._who(request)
        return JSONResponse(document(self._plane.kinds, BODIES))

    async def ready(self, request: Request) -> Response:
        return PlainTextResponse(f"ready: revision {self._plane.contents.revision}, {len(self._plane.hub.nodes)} sidecars known\n")


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Every error has one shape: {"error", "problems"}."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return _error(refused.status, str(refused))
        except Unauthorized as unauthorized:
            return _error(401, str(unauthorized))
        except Forbidden as forbidden:
            return _error(403, str(forbidden))
        except Invalid as invalid:
            return _error(422, "refused; nothing was changed", [problem.as_json() for problem in invalid.problems])
        except Gone as gone:
            return _error(404, str(gone))
        except Conflict as conflict:
            return _error(409, f"somebody else changed the objects meanwhile ({conflict}); try again")
        except Unprepared as unprepared:
            return _error(409, str(unprepared))
        except StoreFailed as failed:
            return _error(503, str(failed))

    return guarded


def _error(status: int, error: str, problems: list[dict] | None = None) -> Response:
    return JSONResponse({"error": error, "problems": problems or []}, status_code=status)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal():
        raise Refused(400, f"{name} {text!r} is not a number")
    return int(text)


async def _body(request: Request, model: type[Any]) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "send application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise Refused(413, f"the request is larger than {MAX_BODY_BYTES} bytes; apply fewer objects at a time")
    try:
        return model.model_validate(json.loads(data))
    except (ValueError, ValidationError) as error:
        raise Refused(400, f"the request is not what /openapi.json describes: {error}") from error


def _applied(applied: Applied) -> dict:
    named = {name: [{"kind": kind, "name": found} for kind, found in getattr(applied, name)] for name in Applied.__slots__ if name != "revision"}
    return {"revision": applied.revision} | named


def _object(entry: Entry) -> dict:
    return {"object": entry.value, "file": entry.file, "line": entry.lines.get("metadata.name", 0)}
