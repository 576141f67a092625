"""Answers the upcall "plan": the one place where requests, rules and the live schema meet."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

import structlog
from google.protobuf.message import Message

from db_mesh.backend import Resources, Unreachable, connect
from db_mesh.planner.answers import Outline, Refused
from db_mesh.planner.request import Request
from db_mesh.planner.rules import Rules
from db_mesh.planner.statement import plan
from db_mesh.postgres import introspect
from db_mesh.schema import Schema
from xds.messages import message
from xds.protocol.client import Held

log = structlog.get_logger()

# Every worker asks the same questions; answers are kept so that only the first one parses.
CACHE_BYTES = 16 << 20
# A statement that names an unknown table reads the schema again, but not more often than this.
REFRESH_AFTER_S = 1.0


# Longer statements are planned beside the loop, so that others need not wait for them.
LONG_STATEMENT = 8 * 1024

NO_SCHEMA = Schema({})


async def _planned(request: Request, rules: Rules, schema: Schema) -> Message:
    if len(request.sql) < LONG_STATEMENT:
        return plan(request, rules, schema)
    return await asyncio.to_thread(plan, request, rules, schema)


class Planner:
    """Lives in the sidecar's asyncio loop; see mesh_core.registry.UpcallHandler."""

    def __init__(self) -> None:
        self._resources = Resources({})
        self._schemas: dict[str, Known] = {}
        self._rules: dict[str, Rules] = {}
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached = 0

    def configure(self, resources: Iterable[Held]) -> None:
        self._resources = Resources.of(resources)
        self._schemas = {}
        self._rules = {}
        self._cache.clear()
        self._cached = 0

    async def answer(self, body: bytes) -> bytes:
        if body in self._cache:
            self._cache.move_to_end(body)
            return self._cache[body]
        resources = self._resources
        answer = await self._plan(message("midstream.sql.v1.PlanRequest").FromString(body))
        data = answer.SerializeToString()
        if answer.cacheable and resources is self._resources:
            self._keep(body, data)
        return data

    async def close(self) -> None:
        self._schemas = {}

    @property
    def cached_bytes(self) -> int:
        """What the kept answers and their questions hold."""
        return self._cached

    async def _plan(self, body: Message) -> Message:
        request = Request(body)
        database = self._resources.database(body.database)
        if database is None:
            unknown = Refused(f"there is no Database {body.database}", "the configuration changed; connect again", sqlstate="3D000", cacheable=False)
            return Outline("", "ADMIN").refuse(unknown)
        rules = self._rules_of(database)
        if not rules:
            return await _planned(request, rules, NO_SCHEMA)
        known = self._known(database)
        try:
            answer = await _planned(request, rules, await known.schema())
            if not answer.cacheable:
                answer = await _planned(request, rules, await known.schema(newer=True))
        except Unreachable as error:
            return _without_schema(request, str(error))
        self._log(answer, request)
        return answer

    def _rules_of(self, database: Message) -> Rules:
        if database.name not in self._rules:
            self._rules[database.name] = Rules(self._resources.sharding_of(database.name), len(database.shards))
        return self._rules[database.name]

    def _known(self, database: Message) -> "Known":
        return self._schemas.setdefault(database.name, Known(self._resources, database))

    def _keep(self, body: bytes, data: bytes) -> None:
        self._cache[body] = data
        self._cached += len(body) + len(data)
        while self._cached > CACHE_BYTES:
            key, value = self._cache.popitem(last=False)
            self._cached -= len(key) + len(value)

    def _log(self, answer: Message, request: Request) -> None:
        if answer.route.HasField("refuse"):
            log.info("statement refused", reason=answer.route.refuse.message, sql=request.sql[:500])


class Known:
    """The schema of a Database's home shard, read at the first question and again when a statement names what it does not have."""

    def __init__(self, resources: Resources, database: Message) -> None:
        self._resources, self._database = resources, database
        self._schema: Schema | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def schema(self, *, newer: bool = False) -> Schema:
        """Raises Unreachable."""
        async with self._lock:
            stale = newer and time.monotonic() - self._read_at >= REFRESH_AFTER_S
            if self._schema is None or stale:
                self._schema = await self._read()
                self._read_at = time.monotonic()
            return self._schema

    async def _read(self) -> Schema:
        sharding = self._resources.sharding_of(self._database.name)
        home = sharding.home if sharding is not None else ""
        shard = next((one for one in self._database.shards if one.name == home), self._database.shards[0])
        connection = await connect(self._resources, self._database, shard)
        try:
            return await introspect(connection)
        except (TimeoutError, OSError) as error:
            raise Unreachable(f"shard {shard.name}: {error or type(error).__name__}") from error
        finally:
            await connection.close(timeout=1)


def _without_schema(request: Request, why: str) -> Message:
    """Nothing can be proven of tables that cannot be looked at."""
    reason = f"the statement cannot be planned: the live schema is not readable ({why})"
    refused = Refused(reason, "see to it that the shard is up and its credentials are right", sqlstate="57P03", cacheable=False)
    return Outline(request.sql.split(" ", 1)[0].upper(), "ADMIN").refuse(refused)
