"""Apache Kafka's jars: fetched once with Maven into a cache directory, by a pom written here.

`MIDSTREAM_CACHE` moves the cache (default `~/.cache/midstream`). Kafka 4 brokers want Java 17 or newer.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .errors import LabError, Missing

VERSION = "4.3.1"  # the newest for which kafka_2.13 and kafka-tools are both published
JAVA_AT_LEAST = 17
FETCH_DEADLINE_S = 300.0  # 92 jars, 54 MB: 10 s on a good day

DEPENDENCIES = (
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.kafka", "kafka-tools", VERSION),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)


def cache() -> Path:
    base = os.environ.get("MIDSTREAM_CACHE") or Path.home() / ".cache" / "midstream"
    return Path(base) / "kafka" / VERSION


def cached() -> bool:
    return (cache() / "lib").is_dir()


@functools.cache
def java() -> str | None:
    """The `java` on the path when it is new enough."""
    program = shutil.which("java")
    if program is None:
        return None
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30).stderr
    version = re.search(r'version "(\d+)', said)
    return program if version and int(version[1]) >= JAVA_AT_LEAST else None


def available() -> bool:
    return java() is not None and (cached() or shutil.which("mvn") is not None)


def fetch(deadline_s: float = FETCH_DEADLINE_S) -> Path:
    """The directory of the jars. Missing without Java or Maven, LabError when Maven fails or is too slow."""
    if java() is None:
        raise Missing("openjdk-17-jre-headless", f"Kafka {VERSION} needs Java {JAVA_AT_LEAST} or newer (Debian package)")
    if cached():
        return cache() / "lib"
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as work:
        copy_dependencies(Path(work), DEPENDENCIES, deadline_s)
        try:
            (Path(work) / "lib").rename(cache() / "lib")  # whole or not at all
        except OSError:
            if not cached():  # otherwise somebody else was quicker
                raise
    return cache() / "lib"


def copy_dependencies(directory: Path, dependencies: Iterable[tuple[str, str, str]], deadline_s: float = FETCH_DEADLINE_S) -> None:
    """Jars by group, artifact and version, and all that they need, into `lib` of a directory."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("maven", f"Kafka {VERSION} is fetched with mvn (Debian package)")
    (directory / "pom.xml").write_text(_pom(dependencies))
    _run_maven([maven, "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"], directory, deadline_s)


def _pom(wanted: Iterable[tuple[str, str, str]]) -> str:
    dependencies = "\n".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        for group, artifact, version in wanted
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
        "<groupId>midstream.lab</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n"
        f"<dependencies>\n{dependencies}\n</dependencies></project>\n"
    )


def _run_maven(argv: list[str], directory: Path, deadline_s: float) -> None:
    try:
        done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise LabError(f"Kafka's jars were not there after {deadline_s:g} s; Maven's own cache keeps what came") from None
    if done.returncode != 0:
        raise LabError(f"mvn ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
