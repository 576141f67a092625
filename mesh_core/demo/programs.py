"""Midstream itself, as a user runs it: `midstream control` and `midstream sidecar`, each a process of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mesh_core.control.client import RestClient
from mesh_core.lab import LabError, ports, until
from mesh_core.lab.process import Process
from mesh_core.model.problem import Invalid

from .objects import PASSWORD_VARIABLE, Rule

NODE = "demo"
IN_FORCE_DEADLINE_S = 15.0
POLL_S = 0.01
DRAIN_S = 3  # the shop's clients keep their connections for ever: they are told to go, then dropped


class Control:
    """The control plane: xDS on `grpc`, REST on `rest`, its objects in a SQLite file."""

    def __init__(self, directory: Path) -> None:
        self.grpc = f"{ports.LOOPBACK}:{ports.prefer(18000)}"
        self.rest = f"{ports.LOOPBACK}:{ports.prefer(18001)}"
        argv = ["control", "--grpc", self.grpc, "--rest", self.rest, "--store", str(directory / "store.db")]
        self.directory = directory
        self.process = Process("control", [sys.executable, "-m", "mesh_core", *argv], directory)
        self.client = RestClient(self.rest)

    def start(self) -> None:
        self.process.spawn()
        until("an answer of the control plane", self.client.status, process=self.process)

    def kill(self) -> None:
        """kill -9"""
        self.process.kill()

    async def apply(self, rule: Rule) -> None:
        """As `midstream apply -f` does; the file stays in the directory, to be changed and applied by hand.

        LabError with every problem when it is refused.
        """
        (self.directory / rule.file).write_text(rule.text)
        try:
            await asyncio.to_thread(self.client.apply, [{"file": rule.file, "text": rule.text}])
        except Invalid as refused:
            raise LabError(f"{rule.file} was refused:\n{refused}") from refused

    async def delete(self, rule: Rule) -> None:
        await asyncio.to_thread(self.client.delete, [(rule.kind, rule.name)])

    async def states(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What `midstream status` shows of our sidecar, by kind and name; empty while it is not connected."""
        answer = await asyncio.to_thread(self.client.status, NODE)
        return {(found["kind"], found["name"]): found for sidecar in answer["sidecars"] if sidecar["connected"] for found in sidecar["objects"]}

    async def wait_acked(self, rule: Rule) -> None:
        """Until the sidecar has acknowledged the rule's object. LabError when it refused it or took too long."""
        found = await self.verdict(rule)
        if found["state"] != "ACKED":
            raise LabError(f"{rule.kind} {rule.name} of {rule.file} is not in force: {found}")

    async def verdict(self, rule: Rule) -> dict[str, Any]:
        """What the status says of the rule's object once the sidecar has accepted or refused it. LabError when it does neither."""
        ends = time.monotonic() + IN_FORCE_DEADLINE_S
        while True:
            found = (await self.states()).get((rule.kind, rule.name), {})
            if found.get("state") in ("ACKED", "NACKED"):
                return found
            if time.monotonic() > ends:
                raise LabError(f"no verdict on {rule.kind} {rule.name} of {rule.file}: {found or 'no sidecar has it'}")
            await asyncio.sleep(POLL_S)


class Sidecar:
    """The sidecar, led by a control plane, with its last good set in `directory`."""

    def __init__(self, directory: Path, control: Control, password: str) -> None:
        self.admin = f"{ports.LOOPBACK}:{ports.prefer(18002)}"
        argv = ["sidecar", "--control", control.grpc, "--node", NODE, "--admin", self.admin]
        argv += ["--state", str(directory / "state"), "--drain-seconds", str(DRAIN_S)]
        environment = {PASSWORD_VARIABLE: password}
        self.process = Process("sidecar", [sys.executable, "-m", "mesh_core", *argv], directory, env=environment)

    def start(self) -> None:
        self.process.spawn()

    def wait_listening(self, on: list[int]) -> None:
        """Until it takes connections on these ports."""
        until("the sidecar's listeners", lambda: _connect_all(on), process=self.process)

    def stop(self) -> int | None:
        """SIGTERM: drains, ends; returns its exit status."""
        return self.process.stop()


def _connect_all(on: list[int]) -> None:
    for port in on:
        socket.create_connection((ports.LOOPBACK, port), timeout=1).close()
