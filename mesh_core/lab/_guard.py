"""The guard: kills what a lab started once the lab's own process is gone, however it went (SIGKILL included).

A script of its own, run with nothing imported from the package. It reads lines from stdin (`+PID`, `-PID`, `dPATH`)
and takes the end of its stdin for the death of its parent. Every PID is the leader of its own session.
"""

import contextlib
import os
import shutil
import signal
import sys
import time


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pids, directories = set(), []
    for line in sys.stdin:
        verb, value = line[0], line[1:].rstrip("\n")
        if verb == "+":
            pids.add(int(value))
        elif verb == "-":
            pids.discard(int(value))
        elif verb == "d":
            directories.append(value)
    kill(pids)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(directory):  # a child of a killed server was still writing its last file
            time.sleep(0.2)
            shutil.rmtree(directory, ignore_errors=True)


main()
