"""Kafka's own tools, with the Java clients in them: the console's, the verifiable ones, administration."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh_core.lab import kafka_jars

from ..scene import DEADLINE_S, At, Failed, Scene

SOURCE = Path(__file__).with_name("Tools.java")
TOOLS = "org.apache.kafka.tools."
FRAME = re.compile(r"\t(at |\.\.\. \d+ more)")  # of a stack: where in a client an error was met
# Words of a line that differ from run to run.
UNSTEADY = (
    # DescribeTransactions: coordinator, producer id and epoch in front, when it began and how long that is ago behind.
    (re.compile(r"^\d+\s+(\S+)\s+\d+\s+\d+\s+(CompleteCommit\s+\d+)\s.*"), r"\1 \2"),
    # The coordinator of a share group.
    (re.compile(r"broker-\d \(\d\) +Empty"), "COORDINATOR Empty"),
    (re.compile(r'"(timestamp|startTimeMs|endTimeMs)"\s*:\s*\d+,?'), ""),
    (re.compile(r"\bconsole-consumer-\d+"), "console-consumer-N"),
    (re.compile(r"\bEpoch: \d+"), "Epoch: N"),
    (re.compile(r"\b(avg_throughput|targetThroughput|target_throughput)\b.*"), r"\1"),
)


@dataclass(frozen=True)
class Run:
    """One tool. `sort` where the order of its lines is nobody's promise, `keep` where only some lines are the same every time."""

    command: str
    stdin: str = ""
    sort: bool = False
    keep: Callable[[str], bool] = bool

    def words(self, at: At) -> list[str]:
        """Its main class and arguments; `BOOTSTRAP` stands for the address of the cluster, `@` for it as most tools take it."""
        main, *arguments = self.command.replace("@", "--bootstrap-server BOOTSTRAP").replace("BOOTSTRAP", at.bootstrap).split()
        return [main if main.startswith("kafka.") else TOOLS + main, *arguments]


def run_all(at: At, *runs: Run) -> Iterator[str]:
    """What the tools print, one after the other."""
    script = at.folder / "tools.txt"
    script.write_text("".join("\t".join([run.stdin.replace("\n", "\\n"), *run.words(at)]) + "\n" for run in runs))
    classpath = str(kafka_jars.fetch() / "*")
    options = [
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
        "--add-opens",
        "java.base/java.lang=ALL-UNNAMED",
    ]
    command = ["java", *options, "-cp", classpath, str(SOURCE), str(script)]
    ran = subprocess.run(command, cwd=at.folder, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False)
    printed = ran.stdout.split("\x01")[1:]
    with (at.folder / "tools.log").open("a") as log:
        log.write(ran.stdout + ran.stderr)
    if len(printed) != len(runs):
        raise Failed(f"{len(printed)} of {len(runs)} tools ran: {ran.stderr[-2000:]}")
    for run, text in zip(runs, printed, strict=True):
        yield f"-- {run.command}"
        lines = [_steady(line) for line in text.splitlines()[1:] if line and not FRAME.match(line) and run.keep(line)]
        yield from sorted(lines) if run.sort else lines


def _steady(line: str) -> str:
    for pattern, instead in UNSTEADY:
        line = pattern.sub(instead, line)
    return re.sub(r"\s+", " ", line).strip()


def _event(*names: str) -> Callable[[str], bool]:
    """Lines of JSON that tell such an event."""
    return lambda line: line.startswith("{") and json.loads(line).get("name") in names


def _has(*parts: str) -> Callable[[str], bool]:
    """Lines with all of these."""
    return lambda line: all(part in line for part in parts)


def _lacks(*parts: str) -> Callable[[str], bool]:
    """Lines with none of these."""
    return lambda line: not any(part in line for part in parts)


CONFIG = "kafka.admin.ConfigCommand @"
CONSUMER = "consumer.ConsoleConsumer @ --timeout-ms 20000"
GROUP = "consumer.group.ConsumerGroupCommand @"
SHARE = "consumer.group.ShareGroupCommand @"


def topics(at: At) -> Iterator[str]:
    yield from run_all(
        at,
        Run(f"TopicCommand @ --create --topic java-a --partitions 3 --replication-factor {at.replicas}"),
        Run(f"TopicCommand @ --create --topic java-b --partitions 1 --replication-factor {at.replicas} --config retention.ms=60000"),
        Run("TopicCommand @ --create --topic java-b --partitions 1"),
        Run("TopicCommand @ --alter --topic java-a --partitions 4"),
        Run("TopicCommand @ --list"),
        Run("TopicCommand @ --describe --topic java-b", keep=_lacks("Leader")),
        Run(f"{CONFIG} --alter --entity-type topics --entity-name java-b --add-config max.message.bytes=99999"),
        Run(f"{CONFIG} --describe --entity-type topics --entity-name java-b"),
        Run(f"{CONFIG} --alter --entity-type topics --entity-name java-b --delete-config max.message.bytes"),
        Run(f"{CONFIG} --describe --entity-type topics --entity-name java-b"),
        Run(f"{CONFIG} --alter --entity-type users --entity-name ann --add-config producer_byte_rate=1000000"),
        Run("TopicCommand @ --delete --topic java-b"),
    )


def console(at: At) -> Iterator[str]:
    text = "".join(f"key{number % 5}:line {number}\n" for number in range(40))
    keyed = "--reader-property parse.key=true --reader-property key.separator=:"
    shown = "--formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true"
    all_of = "--max-messages 40 --from-beginning"
    yield from run_all(
        at,
        Run(f"ConsoleProducer @ --topic java-a {keyed}", stdin=text),
        Run(f"{CONSUMER} --topic java-a --group java-console {all_of} {shown}", sort=True),
        Run(f"{CONSUMER} --topic java-a --group java-new {all_of} --command-property group.protocol=consumer", sort=True),
        Run(f"{CONSUMER} --include java-.* {all_of}", sort=True),
        Run(f"{CONSUMER} --topic java-a --partition 0 --offset 2 --max-messages 3"),
    )


def verifiable(at: At) -> Iterator[str]:
    read = "VerifiableConsumer @ --topic java-verified --max-messages 300 --reset-policy earliest --verbose"
    yield from run_all(
        at,
        Run(f"TopicCommand @ --create --topic java-verified --partitions 2 --replication-factor {at.replicas}"),
        Run(
            "VerifiableProducer @ --topic java-verified --max-messages 300 --repeating-keys 7 --acks -1",
            sort=True,
            keep=_event("producer_send_success", "producer_send_error", "tool_data"),
        ),
        Run(f"{read} --group-id java-verified-classic --group-protocol classic", sort=True, keep=_event("record_data")),
        Run(f"{read} --group-id java-verified-new --group-protocol consumer", sort=True, keep=_event("record_data")),
    )


def transactions(at: At) -> Iterator[str]:
    copied = "--input-topic java-verified --output-topic java-copied --input-partition 0 --max-messages 100 --transaction-size 20"
    names = "--consumer-group java-copier --transactional-id java-copier"
    yield from run_all(
        at,
        Run(f"TopicCommand @ --create --topic java-copied --partitions 1 --replication-factor {at.replicas}"),
        Run(f"TransactionalMessageCopier --broker-list BOOTSTRAP {copied} {names}", keep=_has('"stage":"ProcessLoop"', '"remaining":0')),
        Run(
            f"{CONSUMER} --topic java-copied --max-messages 100 --from-beginning --isolation-level read_committed "
            "--formatter-property print.offset=true"
        ),
        Run("TransactionsCommand @ describe --transactional-id java-copier", keep=_has("java-copier", "CompleteCommit")),
        Run("TransactionsCommand @ find-hanging --topic java-copied"),
    )


def share_groups(at: At) -> Iterator[str]:
    yield from run_all(
        at,
        Run(f"{CONFIG} --alter --entity-type groups --entity-name java-share --add-config share.auto.offset.reset=earliest"),
        Run("consumer.ConsoleShareConsumer @ --topic java-a --group java-share --max-messages 40 --timeout-ms 30000", sort=True),
        Run(f"{SHARE} --list"),
        Run(f"{SHARE} --describe --group java-share --offsets", sort=True),
        Run(f"{SHARE} --describe --group java-share --state", keep=_has("Empty")),
        Run(f"{SHARE} --delete-offsets --group java-share --topic java-a"),
        Run(f"{SHARE} --delete --group java-share"),
    )


def groups(at: At) -> Iterator[str]:
    yield from run_all(
        at,
        Run("GroupsCommand @ --list", sort=True),
        Run(f"{GROUP} --list --state", sort=True),
        Run(f"{GROUP} --describe --group java-console", sort=True),
        Run(f"{GROUP} --reset-offsets --group java-console --topic java-a --to-earliest --execute", sort=True),
        Run("GetOffsetShell @ --topic java-a"),
        Run(f"{GROUP} --delete --group java-console"),
    )


def administration(at: At) -> Iterator[str]:
    (at.folder / "offsets.json").write_text('{"partitions": [{"topic": "java-a", "partition": 0, "offset": 1}], "version": 1}')
    rule = "--allow-principal User:ann --operation Read --topic java- --resource-pattern-type prefixed"
    yield from run_all(
        at,
        Run("ClusterTool cluster-id @"),
        Run("ClusterTool list-endpoints @", sort=True),
        Run("BrokerApiVersionsCommand @", sort=True),
        Run("MetadataQuorumCommand @ describe --status", keep=_lacks("LeaderId", "LeaderEpoch", "HighWatermark", "MaxFollower")),
        Run("MetadataQuorumCommand @ describe --replication", keep=_has("NodeId")),
        Run("FeatureCommand @ describe"),
        Run("LogDirsCommand @ --describe --topic-list java-a", keep=_lacks("{")),
        Run(f"{CONFIG} --describe --all --entity-type brokers --entity-name 1", sort=True),
        Run(
            f"{CONFIG} --alter --entity-type brokers --entity-name 1 --add-config advertised.listeners=PLAINTEXT://elsewhere:1",
            keep=_lacks("--bootstrap-server"),
        ),
        Run("DeleteRecordsCommand @ --offset-json-file offsets.json"),
        Run("LeaderElectionCommand @ --election-type preferred --topic java-a --partition 0"),
        Run(f"AclCommand @ --add {rule}"),
        Run("AclCommand @ --list", sort=True),
        Run(f"AclCommand @ --remove --force {rule}"),
        Run("ClientMetricsCommand @ --alter --name java-metrics --metrics org.apache.kafka.producer. --interval 1000"),
        Run("ClientMetricsCommand @ --describe --name java-metrics"),
        Run(f"{CONFIG} --describe --entity-type users"),
    )


def scenes() -> Iterator[tuple[str, Scene]]:
    for play in (topics, console, verifiable, transactions, share_groups, groups, administration):
        yield f"java-{play.__name__.replace('_', '-')}", play
