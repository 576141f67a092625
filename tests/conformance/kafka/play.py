"""Plays the scenes on both sides and compares what they print."""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import stage
from .modes import Mode
from .scene import At, Scene

EXPECTED = Path(__file__).with_name("differences.toml")
Printed = dict[str, list[str]]


@dataclass(frozen=True)
class Expected:
    """Lines of a scene that may differ in a mode, as regular expressions, and why."""

    modes: tuple[str, ...]
    scene: str
    lines: tuple[str, ...]
    reason: str

    def covers(self, mode: str, scene: str, line: str) -> bool:
        return mode in self.modes and scene == self.scene and any(re.fullmatch(pattern, line) for pattern in self.lines)


def expected(file: Path = EXPECTED) -> list[Expected]:
    """The differences that are understood. One without a reason is a mistake of the file: ValueError."""
    found = []
    for entry in tomllib.loads(file.read_text()).get("difference", []):
        one = Expected(tuple(entry["modes"]), entry["scene"], tuple(entry["lines"]), entry["reason"].strip())
        if not (one.modes and one.lines and one.reason):
            raise ValueError(f"{file.name}: a difference has modes, a scene, lines and a reason: {entry}")
        found.append(one)
    return found


def play(scenes: Mapping[str, Scene], at: At) -> Printed:
    """What each scene printed; one that failed ends with its error, and the others go on."""
    printed: Printed = {}
    for name, scene in scenes.items():
        if at.sniffer is not None:
            at.sniffer.scene = name
        lines: list[str] = []
        began = time.monotonic()
        try:
            for line in scene(at):
                lines += [at.normal(one) for one in line.splitlines()]
        except Exception as error:
            lines.append(f"FAILED {type(error).__name__}: {at.normal(str(error))}")
        printed[name] = lines
        print(f"  {name}: {len(lines)} lines, {time.monotonic() - began:.1f} s", flush=True)
    return printed


def differences(mode: str, direct: Printed, mesh: Printed, accepted: Iterable[Expected]) -> tuple[list[str], int]:
    """What is not explained, scene by scene, and how many lines are."""
    accepted = list(accepted)
    unexplained, explained = [], 0
    for name, lines in direct.items():
        found = list(difflib.unified_diff(lines, mesh.get(name, []), "direct", mode, lineterm="", n=0))[2:]
        found = [line for line in found if not line.startswith("@@")]
        strange = [line for line in found if not any(one.covers(mode, name, line[1:]) for one in accepted)]
        explained += len(found) - len(strange)
        if strange:
            unexplained += [f"{name}:", *(f"  {line}" for line in strange)]
        if lines and lines[-1].startswith("FAILED"):
            unexplained.append(f"{name}: failed on the direct side, which proves nothing: {lines[-1]}")
    return unexplained, explained


def play_all(scenes: Mapping[str, Scene], modes: list[Mode], sizes: list[int], out: Path) -> bool:
    """True when every mode printed, at every size, what the cluster itself did."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    accepted = expected()
    report, good = [], True
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, stage.direct(size, Path(folder)) as at:
            print(f"direct, {size} broker(s)", flush=True)
            direct = play(scenes, at)
        write(out / f"direct-{size}.txt", direct)
        for mode in modes:
            with tempfile.TemporaryDirectory() as folder:
                with stage.mesh(mode, size, Path(folder)) as at:
                    print(f"{mode.name}, {size} broker(s)", flush=True)
                    through = play(scenes, at)
                shutil.copytree(folder, out / f"{mode.name}-{size}", ignore=shutil.ignore_patterns("state", "*.sst"), dirs_exist_ok=True)
            write(out / f"{mode.name}-{size}.txt", through)
            strange, explained = differences(mode.name, direct, through, accepted)
            assert at.sniffer is not None and at.sniffer.seen_bytes > 0
            lines = sum(map(len, direct.values()))
            verdict = "the same" if not strange else "DIFFERENT"
            report.append(f"{mode.name}, {size} broker(s): {len(scenes)} scenes, {lines} lines, {verdict}; {explained} lines differ as expected")
            report.append(f"  {at.sniffer.seen_bytes} bytes reached the clients, what they must not see in {len(at.sniffer.found)} places")
            report += [f"  {line}" for line in strange + at.sniffer.found]
            good &= not strange and not at.sniffer.found
    text = "\n".join(report)
    (out / "report.txt").write_text(text + "\n")
    print(text)
    return good


def write(file: Path, printed: Printed) -> None:
    file.write_text("".join(f"== {name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in printed.items()))
