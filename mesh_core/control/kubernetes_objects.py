"""Kubernetes objects as a store: read only, in one namespace; each kind is a custom resource (`midstream crds`).

One thread per kind lists, and watches from the version of the list on. A version that the cluster has forgotten (410 Gone) is answered with a
new list. What the cluster adds to an object (status, managed fields, versions) is not looked at, and nothing is written there.
"""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import structlog
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from mesh_core.control.crds import GROUP, VERSION, plural
from mesh_core.control.kept_elsewhere import KeptElsewhere
from mesh_core.model.kinds import API_VERSION
from xds.store.base import Contents, Entry, Key, StoreFailed

log = structlog.get_logger("midstream.control")

# A watch is opened anew after this; the cluster would end it by itself some minutes later.
WATCH_S = 240
CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 30.0
RETRY_S = 1.0
PAUSE_S = 0.1  # a cluster that ends watches at once is not asked as fast as it answers
GONE, NOT_FOUND = 410, 404


def connected(namespace: str, kinds: Iterable[str]) -> "KubernetesStore":
    """By the kubeconfig, or as a pod of the cluster. Raises StoreFailed."""
    try:
        config.load_config()
    except ConfigException as error:
        raise StoreFailed(f"no Kubernetes cluster is configured: {error}; set KUBECONFIG, or run in a pod with a service account") from error
    return KubernetesStore(client.Configuration.get_default_copy(), namespace, kinds)


class KubernetesStore(KeptElsewhere):
    """The first `read` lists everything and begins to watch."""

    def __init__(self, configuration: client.Configuration, namespace: str, kinds: Iterable[str]):
        super().__init__(f"the namespace {namespace} of Kubernetes", "change them there, with kubectl")
        self._namespace, self._kinds = namespace, list(kinds)
        configuration.connection_pool_maxsize = len(self._kinds) + 1  # a watch keeps its connection
        self._api = client.CustomObjectsApi(client.ApiClient(configuration))
        self._entries: dict[Key, Entry] = {}
        self._revision = 0
        self._changed = asyncio.Event()
        self._closed = threading.Event()
        self._is_watching = False

    async def read(self) -> Contents:
        if not self._is_watching:
            await self._begin()
        return Contents(self._revision, dict(sorted(self._entries.items())))

    async def wait(self, after: int) -> int:
        while self._revision <= after:
            self._changed.clear()
            await self._changed.wait()
        return self._revision

    async def close(self) -> None:
        self._closed.set()

    async def _begin(self) -> None:
        try:
            lists = await asyncio.gather(*(asyncio.to_thread(self._list, kind) for kind in self._kinds))
        except (ApiException, HTTPError, OSError) as error:
            raise StoreFailed(f"the Kubernetes API failed: {_reason(error)}") from error
        for kind, (_, objects) in zip(self._kinds, lists, strict=True):
            self._replace(kind, objects)
        self._revision = max(self._revision, 1)
        self._is_watching = True
        loop = asyncio.get_running_loop()
        for kind, (version, _) in zip(self._kinds, lists, strict=True):
            # Daemons: a watch that waits for the cluster does not keep a process that is told to end.
            threading.Thread(target=self._follow, args=(loop, kind, version), name=f"watch {kind}", daemon=True).start()

    def _list(self, kind: str) -> tuple[str, list[dict[str, Any]]]:
        within = (CONNECT_WITHIN_S, ANSWER_WITHIN_S)
        found = self._api.list_namespaced_custom_object(GROUP, VERSION, self._namespace, plural(kind), _request_timeout=within)
        return found["metadata"]["resourceVersion"], found["items"]

    def _follow(self, loop: asyncio.AbstractEventLoop, kind: str, version: str) -> None:
        """Until closed. A cluster that does not answer leaves what was seen last in force."""
        while not self._closed.is_set():
            try:
                if not version:
                    version, objects = self._list(kind)
                    loop.call_soon_threadsafe(self._replace, kind, objects)
                version = self._watch(loop, kind, version)
                self._closed.wait(PAUSE_S)
            except (ApiException, HTTPError, OSError, KeyError, TypeError) as error:  # the last two: an answer that is no event
                if isinstance(error, ApiException) and error.status == GONE:
                    version = ""
                    continue
                if self._closed.is_set():
                    return
                log.warning("kubernetes cannot be watched; what was seen last stays", kind=kind, reason=_reason(error))
                self._closed.wait(RETRY_S)
            except RuntimeError:
                return  # the loop has ended

    def _watch(self, loop: asyncio.AbstractEventLoop, kind: str, version: str) -> str:
        """The version from which to go on."""
        options = {"resource_version": version, "timeout_seconds": WATCH_S, "allow_watch_bookmarks": True}
        within = (CONNECT_WITHIN_S, WATCH_S + ANSWER_WITHIN_S)
        where = (GROUP, VERSION, self._namespace, plural(kind))
        events = watch.Watch().stream(self._api.list_namespaced_custom_object, *where, **options, _request_timeout=within)
        for event in events:
            found = event["object"]
            version = found["metadata"]["resourceVersion"]
            if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                loop.call_soon_threadsafe(self._take, kind, found, event["type"] == "DELETED")
            if self._closed.is_set():
                break
        return version

    def _take(self, kind: str, found: dict[str, Any], is_gone: bool) -> None:
        key, before = (kind, found["metadata"]["name"]), dict(self._entries)
        self._entries.pop(key, None)
        if not is_gone:
            self._entries[key] = self._entry(kind, found, before.get(key))
        self._compare(before)

    def _replace(self, kind: str, objects: list[dict[str, Any]]) -> None:
        before = dict(self._entries)
        kept = {key: entry for key, entry in before.items() if key[0] != kind}
        listed = {(kind, found["metadata"]["name"]): found for found in objects}
        self._entries = kept | {key: self._entry(kind, found, before.get(key)) for key, found in listed.items()}
        self._compare(before)

    def _compare(self, before: dict[Key, Entry]) -> None:
        if self._entries != before:
            self._revision += 1
            self._changed.set()

    def _entry(self, kind: str, found: dict[str, Any], before: Entry | None) -> Entry:
        """Only what its author wrote; the same entry where that has not changed."""
        metadata = {"name": found["metadata"]["name"]} | ({"labels": labels} if (labels := found["metadata"].get("labels")) else {})
        value = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": found.get("spec", {})}
        if before is not None and before.value == value:
            return before
        return Entry(kind, metadata["name"], value, f"kubernetes:{self._namespace}/{plural(kind)}/{metadata['name']}", {}, self._revision + 1)


def _reason(error: Exception) -> str:
    if isinstance(error, ApiException):
        said = f"{error.status} {error.reason}"
        return f"{said}; install the kinds with `midstream crds | kubectl apply -f -`" if error.status == NOT_FOUND else said
    return str(error) or type(error).__name__
