"""One child process of ours: started in a session of its own, its output in a file, its end certain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from . import account, guard
from .errors import LabError

STOP_DEADLINE_S = 20.0  # a server that has not ended this long after its signal is killed
TAIL_LINES = 15
POLL_S = 0.005


class Process:
    """`argv` run in `directory`; standard output and error are appended to `directory/NAME.log`.

    `as_servers_user` drops root's rights. A Process can be spawned again after it ended.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        directory: Path,
        *,
        env: dict[str, str] | None = None,
        as_servers_user: bool = False,
    ) -> None:
        self.name, self.argv, self.directory = name, [str(word) for word in argv], directory
        self.env = {**os.environ, **(env or {})}
        self.log = directory / f"{name}.log"
        self._options = account.popen_options() if as_servers_user else {}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise LabError(f"{self.name} is not running")
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """None while it runs or before it was started."""
        return None if self._child is None else self._child.poll()

    def spawn(self) -> None:
        """Starts it and returns at once. LabError when it runs already or can't be executed."""
        if self.alive:
            raise LabError(f"{self.name} is running already (pid {self.pid})")
        with self.log.open("ab") as log:
            try:
                self._child = subprocess.Popen(
                    self.argv, cwd=self.directory, env=self.env, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, **self._options,
                )  # fmt: skip
            except OSError as error:
                raise LabError(f"{self.name}: cannot run {self.argv[0]}: {error}") from error
        guard.watch(self._child.pid)

    def send(self, number: signal.Signals) -> None:
        if self._child is not None and self.alive:
            self._child.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, deadline_s: float = STOP_DEADLINE_S) -> int | None:
        """Asks it to end by `number`, kills it after `deadline_s`; returns its exit status."""
        if self._child is None:
            return None
        self.send(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(deadline_s)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL to it and to every process below it; returns when all are gone: what they shared is free again."""
        if self._child is None:
            return None
        below: list[int] = []
        if self.alive:
            self.pause()  # it makes no more children between the listing and its end
            below = descendants(self._child.pid)
            for pid in [self._child.pid, *below]:
                _kill(pid)
        status = self._child.wait()
        ends = time.monotonic() + STOP_DEADLINE_S
        while any(_is_running(pid) for pid in below) and time.monotonic() < ends:
            time.sleep(POLL_S)  # not our children: nothing tells of their end
        guard.forget(self._child.pid)
        return status

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open and it answers nothing."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_contains(self, text: str) -> bool:
        return text in self.log_text()


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, by /proc; nothing where there is none (the guard's process group kill remains)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue  # it ended between the listing and the look
        children.setdefault(int(after_name[1]), []).append(int(entry.parent.name))
    found = list(children.get(pid, []))
    for child in found:
        found.extend(children.get(child, []))
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
