"""The lab's promises: ports stay ours, waits end with a reason, and nothing outlives the process that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesh_core.lab import LabError, account, ports, tools, until, until_true, wait
from mesh_core.lab.process import Process

LEAVES_SERVERS_BEHIND = """
import sys, time
from mesh_core.lab import RedisServer
server = RedisServer().start()
print(server.process.pid, server.directory, flush=True)
if sys.argv[1] == "raise":
    raise RuntimeError("as any test may")
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """A zombie counts: where pid 1 does not reap, the entry stays."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("end", ["raise", signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_process_that_started_it(end: str | signal.Signals) -> None:
    words = [sys.executable, "-c", LEAVES_SERVERS_BEHIND, "raise" if end == "raise" else "wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdout is not None
        line = owner.stdout.readline().split()
        if isinstance(end, signal.Signals):
            owner.send_signal(end)
        owner.wait(30)
    pid, directory = int(line[0]), Path(line[1])
    until_true("the server is gone", lambda: gone(pid), deadline_s=10)
    until_true("its directory is gone", lambda: not directory.exists(), deadline_s=10)


def test_port_ranges_are_contiguous_and_handed_out_once() -> None:
    first, second = ports.free_range(50), ports.free_range(50)
    assert len(first) == 50 and not set(first) & set(second)
    assert ports.prefer(first[0]) not in first


def test_another_process_does_not_get_our_ports() -> None:
    ours = ports.free()
    asks = f"from mesh_core.lab import ports; print(ports.prefer({ours}))"
    theirs = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert int(theirs.stdout) != ours


def test_a_process_that_ends_early_is_reported_with_its_log() -> None:
    process = Process("doomed", ["/bin/sh", "-c", "echo out of cheese; exit 3"], account.scratch("doomed"))
    process.spawn()

    def attempt() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(LabError, match=r"(?s)doomed ended with 3.*nobody there.*out of cheese"):
        until("login", attempt, process=process)


def test_a_wait_ends_at_its_deadline() -> None:
    with pytest.raises(LabError, match=r"a unicorn: not within 0\.05 s"):
        until_true("a unicorn", lambda: False, deadline_s=0.05)


def test_blocking_works_below_a_running_loop() -> None:
    async def inner() -> int:
        return 5

    async def outer() -> int:
        return wait.blocking(inner())

    assert asyncio.run(outer()) == 5


def test_stop_kills_what_does_not_listen() -> None:
    deaf = Process("deaf", ["/bin/sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done"], account.scratch("deaf"))
    deaf.spawn()
    until_true("armed", lambda: deaf.log_contains("armed"))
    assert deaf.stop(deadline_s=0.2) == -signal.SIGKILL
    assert not deaf.alive


def test_tools_are_found_or_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in tools.PACKAGES:
        found = tools.find(program)
        assert found is None or os.access(found, os.X_OK)
    monkeypatch.setenv("MIDSTREAM_REDIS_BENCHMARK", str(tmp_path / "mine"))
    assert tools.find("redis-benchmark") == tmp_path / "mine"
    with pytest.raises(ValueError, match="not a tool of the lab"):
        tools.find("emacs")
