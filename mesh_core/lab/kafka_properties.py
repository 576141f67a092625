"""server.properties of one KRaft node that is broker and controller.

Source of the names: https://kafka.apache.org/documentation/#brokerconfigs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .ports import LOOPBACK

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
PARTITIONS = 4
SCRAM = ("scram-sha-256", "scram-sha-512")


@dataclass(frozen=True)
class Broker:
    """`id` counts from 1; the ports are of its three listeners, all on `host`."""

    id: int
    plain: int
    controller: int
    sasl: int
    host: str = LOOPBACK


def render(broker: Broker, all_brokers: list[Broker], data: Path, users: dict[str, str], more: dict[str, str]) -> str:
    """The file's text; `users` adds the SASL listener, `more` comes last and wins."""
    copies = min(3, len(all_brokers))
    in_sync = 2 if copies == 3 else 1
    lines = {
        "process.roles": "broker,controller",
        "node.id": broker.id,
        "controller.quorum.voters": ",".join(f"{other.id}@{other.host}:{other.controller}" for other in all_brokers),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        **_listeners(broker, sasl=bool(users)),
        **_sasl(users),
        "log.dirs": data,
        "num.partitions": PARTITIONS,
        "auto.create.topics.enable": "true",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        # a crashed broker is noticed in 3 s instead of 9
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        **_internal_topic("offsets.topic", copies),
        **_internal_topic("transaction.state.log", copies, in_sync),
        **_internal_topic("share.coordinator.state.topic", copies, in_sync),
        **more,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _listeners(broker: Broker, *, sasl: bool) -> dict[str, str]:
    clients = {"PLAINTEXT": broker.plain, **({"SASL": broker.sasl} if sasl else {})}
    advertised = ",".join(f"{name}://{broker.host}:{port}" for name, port in clients.items())
    return {
        "listeners": f"{advertised},CONTROLLER://{broker.host}:{broker.controller}",
        "advertised.listeners": advertised,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT",
    }


def _sasl(users: dict[str, str]) -> dict[str, str]:
    if not users:
        return {}
    entries = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    security = "org.apache.kafka.common.security"
    logins = {
        "plain": f"{security}.plain.PlainLoginModule required {entries};",
        **{hashed: f"{security}.scram.ScramLoginModule required;" for hashed in SCRAM},
        # Tokens without a signature are taken: what is tested with it is who sends them.
        "oauthbearer": f'{security}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
    }
    return {
        "sasl.enabled.mechanisms": ",".join(logins).upper(),
        **{f"listener.name.sasl.{mechanism}.sasl.jaas.config": login for mechanism, login in logins.items()},
    }


def format_arguments(users: dict[str, str]) -> list[str]:
    """What StorageTool stores of the users: brokers take SCRAM from the cluster's own metadata."""
    return [
        argument
        for name, password in users.items()
        for hashed in SCRAM
        for argument in ("-S", f"{hashed.upper()}=[name={name},iterations=4096,password={password}]")
    ]


def _internal_topic(prefix: str, copies: int, in_sync: int | None = None) -> dict[str, int]:
    lines = {f"{prefix}.replication.factor": copies, f"{prefix}.num.partitions": PARTITIONS}
    return lines if in_sync is None else {**lines, f"{prefix}.min.isr": in_sync}
