"""What crates may depend on, and what must stand beside a protocol."""

import re

import pytest

from tests.unit.house import tree

PROTOCOLS = [crate for crate in tree.crates() if crate.startswith("proto-")]
PURE = [crate for crate in tree.crates() if crate in {"wire", "sql", "filters", "config", "identity"} or crate in PROTOCOLS]
WITHOUT_CLOCK = [crate for crate in PURE if crate not in {"filters", "config"}]  # a tap's line carries the time; config reads files
RUNTIMES = {"tokio", "async-std", "smol", "mio", "socket2", "polling", "hyper", "libc", "nix", "rustix"}
MAY_BE_UNSAFE = {"bindings", "engine"}
PACKAGE_OF = {"postgres": "db_mesh", "mysql": "db_mesh", "kafka": "msg_mesh", "amqp": "msg_mesh", "redis": "cache_mesh"}


@pytest.mark.parametrize("crate", PURE)
def test_a_pure_crate_does_no_io(crate: str) -> None:
    found = tree.dependencies(crate) & (RUNTIMES | {"pyo3", "engine", "bindings"})
    assert not found, f"{crate} depends on {found}: a protocol is a pure machine, tests drive it without sockets; move the I/O to engine"
    for path, text in tree.sources(crate):
        used = re.search(r"\b(Tcp(Stream|Listener)|Udp\w*Socket|Unix(Stream|Listener))\b", text)
        assert not used, f"{tree.where(path)} uses {used and used[0]}: sockets belong to engine"


@pytest.mark.parametrize("crate", WITHOUT_CLOCK)
def test_a_machine_has_no_clock(crate: str) -> None:
    for path, text in tree.sources(crate):
        used = re.search(r"\b(Instant|SystemTime)::now\b|thread::sleep", text)
        assert not used, f"{tree.where(path)} uses {used and used[0]}: same input, same output; the time is io.now()"


def test_the_engine_knows_no_protocol() -> None:
    known = {name for name in tree.dependencies("engine") if name.startswith("proto-")}
    assert not known, f"engine depends on {known}: one engine serves every protocol, it is bindings that puts them together"


def test_python_is_known_to_the_bindings_alone() -> None:
    for crate in tree.crates():
        depends = tree.dependencies(crate) & {"pyo3", "bindings"}
        assert crate == "bindings" or not depends, f"{crate} depends on {depends}: no Python may run between reading a packet and writing it"


@pytest.mark.parametrize("crate", tree.crates())
def test_unsafe_is_denied_or_explained(crate: str) -> None:
    assert tree.manifest(crate).get("lints", {}).get("workspace"), f"{crate} does not take the workspace's lints, which deny unsafe_code"
    for path in sorted(tree.crates()[crate].rglob("*.rs")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bunsafe (\{|impl|fn|extern)", line) and not line.lstrip().startswith("//"):
                assert crate in MAY_BE_UNSAFE, f"{tree.where(path)}:{number + 1} is unsafe: only {MAY_BE_UNSAFE} may be"
                explained = any("SAFETY" in before for before in lines[max(0, number - 6) : number + 1])
                assert explained, f"{tree.where(path)}:{number + 1} is unsafe without a SAFETY comment that says why it is sound"


@pytest.mark.parametrize("crate", PROTOCOLS)
def test_a_protocol_is_whole(crate: str) -> None:
    noun = crate.removeprefix("proto-")
    beside = {
        "a fuzz target": list(tree.ROOT.glob(f"dataplane/fuzz/targets/{noun}*.rs")),
        "a transcript": list(tree.ROOT.glob(f"tests/transcripts/{noun}/*")),
        "a Python module": [path for path in tree.files(".py") if path.is_relative_to(tree.ROOT / PACKAGE_OF[noun]) and noun in tree.where(path)],
        "a compose scene": list(tree.ROOT.glob(f"compose/{noun}.yaml")),
    }
    missing = [what for what, found in beside.items() if not found]
    assert not missing, f"{crate} lacks {missing}: one noun in every half, so that `git ls-files | grep {noun}` shows the whole feature"
