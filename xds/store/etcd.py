"""Objects in etcd: for several control planes where there is an etcd already.

A change is one entry of a log, and the revision that it gives is a key that is compared and set with it, in one transaction: of two writers
that saw the same revision one gets it. A transaction holds few keys and little text, so a change's text that is long lies in pieces beside
the log, written before; every so many revisions all objects are written as a *checkpoint*, from which reading begins.

    PREFIX/newest                          the revision
    PREFIX/changes/REVISION                who, when, why, which objects, and their text or where its pieces are
    PREFIX/checkpoints/REVISION            where the pieces of all objects are
    PREFIX/pieces/REVISION/WRITER/NUMBER   of a change or a checkpoint; of a writer that lost, too, until they are forgotten
    PREFIX/audit/NUMBER                    the records of the audit log
    PREFIX/audited, PREFIX/anchor          number and seal of its newest record, and of the last one that was forgotten

It is spoken to by etcd's own JSON gateway. Source: <https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>.
"""

import asyncio
import json
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from xds.store import audit
from xds.store.base import (
    COMPACT_EVERY,
    KEPT_REVISIONS,
    Change,
    Conflict,
    Contents,
    Entry,
    Gone,
    Head,
    Key,
    Log,
    Record,
    RefusedChange,
    StoreFailed,
    Written,
    no_such_revision,
)

# etcd takes requests of 1.5 MiB; in JSON a piece is a third longer.
PIECE_BYTES = 512 * 1024
# A change of so little lies in the log itself.
INLINE_BYTES = 64 * 1024
REQUEST_TIMEOUT_S = 5.0
# A watch is a hint that may be lost; it is opened anew after this.
LOOK_EVERY_S = 5.0
# Changes read at a time: each of INLINE_BYTES at most.
PAGE = 64

Records = Callable[[Head], Iterable[Record]]


class EtcdStore:
    """`url` is etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][/PREFIX], or etcds:// for TLS. The prefix is `midstream` where none is given."""

    def __init__(self, url: str, *, kept: int = KEPT_REVISIONS):
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        scheme = "https" if parts.scheme == "etcds" else "http"
        self._endpoints = [f"{scheme}://{host}" for host in hosts.split(",")]
        self._login = [unquote(word) for word in login.partition(":")[::2]] if login else None
        self._prefix = f"/{parts.path.strip('/') or 'midstream'}"
        self._name = f"etcd {hosts}{self._prefix}"  # never the password
        self._kept = kept
        self._client = httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S)
        self._token = ""
        self._known = Contents(0, {})
        self._lock = asyncio.Lock()

    async def read(self) -> Contents:
        async with self._lock:
            newest = await self._newest()
            if newest != self._known.revision:
                self._known = await self._at(newest, self._known if newest > self._known.revision else Contents(0, {}))
            return self._known

    async def write(self, puts: Iterable[Entry], deletes: Iterable[Key], *, expected: int, author: str, reason: str) -> int:
        revision, writer = expected + 1, uuid.uuid4().hex
        rows, gone = [replace(entry, revision=revision) for entry in puts], list(deletes)
        text = json.dumps({"put": [asdict(entry) for entry in rows], "removed": gone}, ensure_ascii=False)
        change: dict[str, Any] = {"at": time.time(), "author": author, "reason": reason, "writer": writer}
        change |= {"put": [entry.key for entry in rows], "removed": gone}
        change |= {"text": text} if len(text) <= INLINE_BYTES else {"pieces": await self._put_pieces(revision, writer, text)}
        told = Change(revision, change["at"], author, reason, tuple(change["put"]), tuple(gone))
        if not await self._append(expected, revision, change, lambda head: audit.changed(head, told, rows)):
            await self._delete(f"pieces/{revision:020}/{writer}/")
            raise Conflict(f"revision {await self._newest()} came after {expected}")
        if revision % min(COMPACT_EVERY, self._kept) == 0:
            with suppress(StoreFailed):  # the change is made; the next one of these will do it
                await self._checkpoint(revision, writer)
        return revision

    async def wait(self, after: int) -> int:
        while True:
            revision = await self._newest()
            if revision > after:
                return revision
            with suppress(TimeoutError, httpx.HTTPError):
                await asyncio.wait_for(self._hint(after), LOOK_EVERY_S)

    async def history(self, limit: int) -> list[Change]:
        newest = await self._newest()
        found = await self._changes(max(0, newest - limit), newest)
        return [_change(revision, change) for revision, change in reversed(found.items())]

    async def at(self, revision: int) -> Contents:
        newest, oldest = await self._newest(), await self._oldest()
        if not (oldest if oldest > 1 else 0) <= revision <= newest:
            raise no_such_revision(revision, oldest, newest)
        return await self._at(revision, Contents(0, {}))

    async def audit(self) -> Log:
        anchor, records, after = _head(await self._value("anchor")), [], 0
        while page := await self._range(f"audit/{after + 1:020}", "audit0", limit=PAGE):
            found = {int(key.rpartition("/")[2]): json.loads(value) for key, value in page.items()}
            records += [Record(number, value["body"], value["seal"]) for number, value in found.items()]
            after = max(found)
        return Log(anchor, tuple(record for record in records if record.number > anchor.number))

    async def refuse(self, refusal: RefusedChange) -> Head:
        made = await self._recorded({}, {}, lambda head: audit.refused(head, refusal))
        assert made is not None  # nothing is guarded
        return made

    async def written(self, revision: int) -> Written:
        found = (await self._changes(revision - 1, revision)).get(revision)
        if found is None:
            raise Gone(f"there is no revision {revision}")
        text = json.loads(found["text"] if "text" in found else await self._pieces(revision, found))
        return Written(_change(revision, found), tuple(map(_entry, text["put"])))

    async def close(self) -> None:
        await self._client.aclose()

    async def _at(self, revision: int, base: Contents) -> Contents:
        """Everything at that revision, from what is known of an earlier one."""
        if revision - base.revision > 1:
            checkpoints = await self._range("checkpoints/", f"checkpoints/{revision + 1:020}", limit=1, newest_first=True)
            for key, value in checkpoints.items():
                if (found := int(key.rpartition("/")[2])) > base.revision:
                    rows = json.loads(await self._pieces(found, json.loads(value)))
                    base = Contents(found, {entry.key: entry for entry in map(_entry, rows)})
        entries, changes = dict(base.entries), await self._changes(base.revision, revision)
        if len(changes) != revision - base.revision:
            raise StoreFailed(f"the store {self._name} lost revisions between {base.revision} and {revision}; restore it from a backup")
        for number, change in changes.items():
            text = json.loads(change["text"] if "text" in change else await self._pieces(number, change))
            for key in text["removed"]:
                entries.pop(tuple(key), None)
            entries |= {entry.key: entry for entry in map(_entry, text["put"])}
        return Contents(revision, dict(sorted(entries.items())))

    async def _changes(self, after: int, until: int) -> dict[int, dict]:
        found: dict[int, dict] = {}
        while after < until:
            page = await self._range(f"changes/{after + 1:020}", f"changes/{until + 1:020}", limit=PAGE)
            if not page:
                break
            found |= {int(key.rpartition("/")[2]): json.loads(value) for key, value in page.items()}
            after = max(found)
        return found

    async def _append(self, expected: int, revision: int, change: dict, records: Records) -> bool:
        """Whether the change was made: False if another came between."""
        puts = {"newest": str(revision), f"changes/{revision:020}": json.dumps(change, ensure_ascii=False)}
        try:
            return await self._recorded({"newest": str(expected) if expected else ""}, puts, records) is not None
        except StoreFailed as failed:
            # The answer may be lost, and the change made: the log tells, if it can be read.
            try:
                found = (await self._changes(expected, revision)).get(revision)
            except StoreFailed:
                raise StoreFailed(f"{failed}, perhaps: the change may have been made; look before trying again") from failed
            if found is None or found["writer"] != change["writer"]:
                raise
            return True

    async def _recorded(self, guards: dict[str, str], puts: dict[str, str], make: Records) -> Head | None:
        """Puts these keys and the audit log's records in one step, if the guarded keys have these values ("": are not there); None if not."""
        while True:
            told = await self._value("audited")
            head = _head(told)
            records = list(make(head))
            logged = {f"audit/{record.number:020}": json.dumps({"body": record.body, "seal": record.seal}) for record in records}
            end = records[-1].head
            if await self._swap(guards | {"audited": told}, puts | logged | {"audited": f"{end.number} {end.seal}"}):
                if end.number % COMPACT_EVERY == 0:
                    await self._forget(end.number - audit.KEPT_RECORDS)
                return end
            # Another one's record came between, or what was guarded has changed.
            if any([await self._value(key) != value for key, value in guards.items()]):
                return None

    async def _swap(self, guards: dict[str, str], puts: dict[str, str]) -> bool:
        compare = [{"key": self._key(key), "result": "EQUAL", **_has(value)} for key, value in guards.items()]
        success = [{"requestPut": {"key": self._key(key), "value": _b64(value)}} for key, value in puts.items()]
        return bool((await self._call("kv/txn", {"compare": compare, "success": success})).get("succeeded"))

    async def _forget(self, number: int) -> None:
        """The audit log's records up to that one; its seal stays. The record is made: what fails here is done the next time."""
        with suppress(StoreFailed):
            if found := await self._value(f"audit/{number:020}") if number > 0 else "":
                await self._call("kv/put", {"key": self._key("anchor"), "value": _b64(f"{number} {json.loads(found)['seal']}")})
                await self._delete("audit/", f"audit/{number + 1:020}")

    async def _checkpoint(self, revision: int, writer: str) -> None:
        """All objects at that revision; then what came before the oldest kept one is forgotten."""
        contents = await self._at(revision, self._known if self._known.revision <= revision else Contents(0, {}))
        text = json.dumps([asdict(entry) for entry in contents.entries.values()], ensure_ascii=False)
        where = {"writer": f"{writer}-all"}
        where |= {"pieces": await self._put_pieces(revision, where["writer"], text)}
        await self._call("kv/put", {"key": self._key(f"checkpoints/{revision:020}"), "value": _b64(json.dumps(where))})
        horizon = revision - self._kept
        kept = await self._range("checkpoints/", f"checkpoints/{horizon + 1:020}", limit=1, newest_first=True) if horizon > 0 else {}
        for key in kept:
            oldest = key.rpartition("/")[2]
            for folder in ("changes", "checkpoints", "pieces"):
                await self._delete(f"{folder}/", f"{folder}/{oldest}")

    async def _put_pieces(self, revision: int, writer: str, text: str) -> int:
        """All of them or, as far as the store still does anything, none."""
        data = text.encode()
        pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
        try:
            for number, piece in enumerate(pieces):
                value = b64encode(piece).decode()
                await self._call("kv/put", {"key": self._key(f"pieces/{revision:020}/{writer}/{number:05}"), "value": value})
        except StoreFailed:
            with suppress(StoreFailed):
                await self._delete(f"pieces/{revision:020}/{writer}/")
            raise
        return len(pieces)

    async def _pieces(self, revision: int, where: Mapping[str, Any]) -> str:
        found = []
        for number in range(where["pieces"]):
            key = f"pieces/{revision:020}/{where['writer']}/{number:05}"
            found += (await self._call("kv/range", {"key": self._key(key)})).get("kvs", [])
        if len(found) != where["pieces"]:
            raise StoreFailed(f"the store {self._name} lost a part of revision {revision}; restore it from a backup")
        return b"".join(b64decode(row["value"]) for row in found).decode()

    async def _newest(self) -> int:
        return int(await self._value("newest") or 0)

    async def _value(self, key: str) -> str:
        """Empty where there is no such key."""
        rows = (await self._call("kv/range", {"key": self._key(key)})).get("kvs", [])
        return b64decode(rows[0]["value"]).decode() if rows else ""

    async def _oldest(self) -> int:
        found = await self._range("changes/", "changes0", limit=1)
        return next((int(key.rpartition("/")[2]) for key in found), 1)

    async def _hint(self, after: int) -> None:
        """Returns when the revision may have changed."""
        create = {"create_request": {"key": self._key("newest")}}
        async with self._client.stream("POST", f"{self._endpoints[0]}/v3/watch", json=create, headers=self._headers(), timeout=None) as stream:
            async for line in stream.aiter_lines():
                # The first line says that the watch is there: a change before it would not be told.
                if json.loads(line).get("result", {}).get("events") or await self._newest() > after:
                    return

    async def _range(self, first: str, end: str, *, limit: int, newest_first: bool = False) -> dict[str, str]:
        """Keys without the prefix, from `first` to before `end`."""
        request: dict[str, Any] = {"key": self._key(first), "range_end": self._key(end), "limit": str(limit)}
        if newest_first:
            request |= {"sort_target": "KEY", "sort_order": "DESCEND"}
        rows = (await self._call("kv/range", request)).get("kvs", [])
        cut = len(self._prefix) + 1
        return {b64decode(row["key"]).decode()[cut:]: b64decode(row["value"]).decode() for row in rows}

    async def _delete(self, first: str, end: str = "") -> None:
        # "0" is the byte behind "/".
        await self._call("kv/deleterange", {"key": self._key(first), "range_end": self._key(end or f"{first[:-1]}0")})

    async def _call(self, path: str, request: dict) -> dict:
        """Asks the endpoints in turn until one answers. Raises StoreFailed."""
        reason = ""
        for endpoint in list(self._endpoints):
            try:
                return await self._ask(endpoint, path, request)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                self._endpoints.append(self._endpoints.pop(0))  # the next call begins with another
        raise StoreFailed(f"the store {self._name} failed: {reason}; nothing was changed")

    async def _ask(self, endpoint: str, path: str, request: dict) -> dict:
        answer = await self._client.post(f"{endpoint}/v3/{path}", json=request, headers=self._headers())
        is_unknown = answer.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED) and (not self._token or "token" in answer.text)
        if self._login and is_unknown:
            await self._log_in(endpoint)
            answer = await self._client.post(f"{endpoint}/v3/{path}", json=request, headers=self._headers())
        if answer.status_code != httpx.codes.OK:
            said = answer.json().get("error", "") if answer.headers.get("content-type", "").startswith("application/json") else answer.text
            raise StoreFailed(f"the store {self._name} failed: {said[:200] or answer.status_code}; nothing was changed")
        return answer.json()

    async def _log_in(self, endpoint: str) -> None:
        user, password = self._login or ("", "")
        answer = await self._client.post(f"{endpoint}/v3/auth/authenticate", json={"name": user, "password": password})
        if answer.status_code != httpx.codes.OK:
            raise StoreFailed(f"the store {self._name} does not take user {user!r} with the given password")
        self._token = answer.json()["token"]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _key(self, key: str) -> str:
        return _b64(f"{self._prefix}/{key}")


def _b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _has(value: str) -> dict[str, str]:
    """What a key is compared with; empty: that it is not there."""
    return {"target": "VALUE", "value": _b64(value)} if value else {"target": "VERSION", "version": "0"}


def _head(text: str) -> Head:
    number, _, seal = text.partition(" ")
    return Head(int(number or 0), seal)


def _entry(row: dict) -> Entry:
    return Entry(**row)


def _keys(rows: Iterable[list[str]]) -> Iterator[Key]:
    return ((kind, name) for kind, name in sorted(map(tuple, rows)))


def _change(revision: int, change: dict) -> Change:
    return Change(revision, change["at"], change["author"], change["reason"], tuple(_keys(change["put"])), tuple(_keys(change["removed"])))
