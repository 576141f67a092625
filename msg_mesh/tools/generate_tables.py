"""Write `dataplane/proto-kafka/src/tables.rs` from Kafka's own message schemas.

The schemas are `common/message/*.json` inside the kafka-clients jar, as Maven fetches it:

    mvn dependency:copy -Dartifact=org.apache.kafka:kafka-clients:4.3.1 -DoutputDirectory=/tmp/kafka
    python msg_mesh/tools/generate_tables.py /tmp/kafka/kafka-clients-4.3.1.jar

For every API that a broker serves, every version and both directions, the table holds a skip program: how to pass over a message by its
lengths, with marks at the fields that rules care about (`marks.py`). `walk.rs` interprets it and `table.rs` documents the words; the two
and this file change together. A broker address in a place that is not listed here stops the generator, and so does a string that is neither
marked nor known to hold no name (`PLAIN`): a new Kafka cannot leak silently.
"""

import json
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from marks import (
    ADDRESSES,
    BROKERS,
    BY_ENTITY,
    BY_NAME,
    ELEMENTS,
    FREE_TEXT,
    INTEREST,
    LAST_TAGS,
    MEASURED,
    NOT_BROKERS,
    ONLY_OF,
    PLACES,
    PLAIN,
    RESOURCE_PLACES,
    RESOURCES,
)

TARGET = Path(__file__).resolve().parents[2] / "dataplane/proto-kafka/src/tables.rs"

OPS = {"END": 0, "SKIP": 1, "VALUE": 2, "STRING": 3, "BYTES": 4, "ARRAY": 5, "OPTION": 6, "TAGS": 7, "TAIL": 8}
FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8, "float64": 8, "uuid": 16}


@dataclass(frozen=True)
class Versions:
    """A range of versions as the schemas write it: `none`, `3`, `3+`, `3-7`."""

    first: int
    last: int

    @staticmethod
    def of(text: str) -> "Versions":
        if text == "none":
            return Versions(1, 0)
        if text.endswith("+"):
            return Versions(int(text[:-1]), 32767)
        first, _, last = text.partition("-")
        return Versions(int(first), int(last or first))

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


def word(op: str, interest: str = "NONE", arg: int = 0) -> int:
    """One word of a program: operation, interest, argument."""
    if not 0 <= arg < 65536:
        raise ValueError(f"{op} {interest}: argument {arg} does not fit")
    return OPS[op] << 24 | INTEREST[interest] << 16 | arg


class Message:
    """The programs of one direction of one API."""

    def __init__(self, schema: dict, *, measured: bool = False):
        self.schema = schema
        self.key = schema["apiKey"]
        self.direction = schema["type"]
        self.valid = Versions.of(schema["validVersions"])
        self.flexible = Versions.of(schema.get("flexibleVersions", "none"))
        self.measured = MEASURED.get((self.key, self.direction), {}) if measured else {}
        self.brokers = BROKERS.get((self.key, self.direction), set())
        self.common = {struct["name"]: struct["fields"] for struct in schema.get("commonStructs", [])}

    def program(self, version: int) -> list[int]:
        """The words for `version`, the end included."""
        words: list[int] = []
        fields = [field for field in self.schema["fields"] if version in Versions.of(field["versions"])]
        tail = next((at for at, field in enumerate(fields) if self.is_endpoints(field)), None)
        tagged = tail is not None and version in Versions.of(fields[tail].get("taggedVersions", "none"))
        for at, field in enumerate(fields):
            if at == tail and not tagged:
                words.append(word("TAIL"))
            words += self.field(field, version, "") if not self.is_tagged(field, version) else []
        if tagged:
            words.append(word("TAIL"))
        if version in self.flexible:
            last = "LAST_TAGS" if (self.key, self.direction) in LAST_TAGS else "NONE"
            words += self.tags(fields, version, "", last if tail is None else "TAIL_TAGS")
        return [*merge_skips(words), word("END", arg=int(self.direction == "request"))]

    def is_endpoints(self, field: dict) -> bool:
        return self.direction == "response" and field["name"] == "NodeEndpoints" and self.key in ADDRESSES

    def is_tagged(self, field: dict, version: int) -> bool:
        return version in Versions.of(field.get("taggedVersions", "none"))

    def struct(self, fields: list[dict], version: int, path: str) -> list[int]:
        here = [field for field in fields if version in Versions.of(field["versions"])]
        words = [one for field in here if not self.is_tagged(field, version) for one in self.field(field, version, path)]
        if version in self.flexible:
            words += self.tags(here, version, path, "NONE")
        return merge_skips(words)

    def tags(self, fields: list[dict], version: int, path: str, interest: str) -> list[int]:
        """Known tags are those that bear a mark: the others are passed over by their size."""
        entries: list[int] = []
        for field in fields:
            if not self.is_tagged(field, version):
                continue
            body = merge_skips(self.field(field, version, path))
            if any(one >> 16 & 255 for one in body) and (interest == "TAIL_TAGS" or path + field["name"] + ".LeaderId" in self.brokers):
                entries += [field["tag"] << 16 | len(body), *body]
        return [word("TAGS", interest, len(entries)), *entries]

    def field(self, field: dict, version: int, path: str) -> list[int]:
        kind, compact = field["type"], int(version in self.flexible)
        interest = self.interest(field, path)
        if kind.startswith("[]"):
            return self.array(field, version, path, interest)
        if kind in FIXED:
            return [word("VALUE", interest, FIXED[kind]) if interest != "NONE" else word("SKIP", arg=FIXED[kind])]
        if kind == "string":
            return [word("STRING", interest, compact)]
        if kind in ("bytes", "records"):
            return [word("BYTES", interest, compact)]
        body = self.struct(self.fields_of(field, kind), version, path + field["name"] + ".")
        nullable = version in Versions.of(field.get("nullableVersions", "none"))
        return [word("OPTION", arg=len(body)), *body] if nullable else body

    def array(self, field: dict, version: int, path: str, interest: str) -> list[int]:
        kind, compact = field["type"][2:], int(version in self.flexible)
        inner = path + field["name"] + "."
        if interest == "BROKER_IDS":
            return [word("ARRAY", interest, 2 | compact), word("SKIP", arg=FIXED[kind])]
        if kind in FIXED or kind == "string":
            body = self.field({**field, "type": kind}, version, path)
            names = "NAMES" if kind == "string" and interest != "NONE" else "NONE"
            return [word("ARRAY", names, len(body) << 1 | compact), *body]
        fields = self.fields_of(field, kind)
        body = self.struct(fields, version, inner)
        return [word("ARRAY", self.elements(fields, version, inner), len(body) << 1 | compact), *body]

    def fields_of(self, field: dict, kind: str) -> list[dict]:
        return field.get("fields") or self.common[kind]

    def elements(self, fields: list[dict], version: int, path: str) -> str:
        """What an element stands for, by the marks that it bears itself."""
        marks = {self.interest(field, path) for field in fields if version in Versions.of(field["versions"])}
        for mark, elements in ELEMENTS.items():
            if mark in marks:
                return elements
        return "RESULTS" if self.direction == "response" and self.key in (30, 31) else "NONE"

    def interest(self, field: dict, path: str) -> str:
        name, kind = field["name"], field["type"].removeprefix("[]")
        if (self.direction, name) in BY_NAME and self.key == ONLY_OF.get(name, self.key):
            return BY_NAME[self.direction, name]
        if field.get("entityType") in BY_ENTITY and kind == "string":
            return BY_ENTITY[field["entityType"]]
        if name in ("TopicId", "TopicIds") and kind == "uuid":
            return "TOPIC_ID"
        if kind == "records":
            return "RECORDS"
        if self.key in RESOURCES and name in ("ResourceType", "ResourceName") and path in RESOURCE_PLACES:
            return "RESOURCE_TYPE" if name == "ResourceType" else "RESOURCE_NAME"
        if path + name in self.brokers:
            return "BROKER_IDS" if field["type"].startswith("[]") else "BROKER_ID"
        if path + name in PLACES.get((self.key, self.direction), {}):
            return PLACES[self.key, self.direction][path + name]
        if path + name in self.measured:
            return self.measured[path + name]
        if name in FREE_TEXT:
            return "TEXT"
        interest = self.response_interest(name, kind, path) if self.direction == "response" else "NONE"
        if interest == "NONE" and kind in ("string", "bytes") and not self.is_plain(path + name):
            raise ValueError(f"API {self.key}: {path}{name} may hold a name; list it in PLACES or PLAIN")
        return interest

    def is_plain(self, path: str) -> bool:
        whole = f"{self.schema['name']}.{path}"
        return any(whole == plain or whole.endswith("." + plain) for plain in PLAIN.split())

    def response_interest(self, name: str, kind: str, path: str) -> str:
        if name in ("ErrorCode", "PartitionErrorCode") and kind == "int16":
            return "ERROR"
        if self.key == 18 and path == "ApiKeys.":
            return {"ApiKey": "API_KEY", "MinVersion": "API_MIN", "MaxVersion": "API_MAX"}.get(name, "NONE")
        places = ADDRESSES.get(self.key, set())
        holder = path.removesuffix(".")
        if name in ("Host", "Port"):
            if holder not in places and self.key not in NOT_BROKERS:
                raise ValueError(f"API {self.key}: {path}{name} may be a broker's address; list it in ADDRESSES or NOT_BROKERS")
            return name.upper() if holder in places else "NONE"
        if name in ("NodeId", "BrokerId") and (holder in places or any(place.startswith(holder + ".") for place in places)):
            return "NODE_ID"
        return "NONE"

    def template(self, version: int) -> tuple[bytes, int] | None:
        """An empty response and where its own error code stands; None when it has none."""
        body, at = bytearray(), None
        for field in self.schema["fields"]:
            if version not in Versions.of(field["versions"]) or self.is_tagged(field, version):
                continue
            if field["name"] == "ErrorCode":
                at = len(body)
            body += self.default(field, version)
        return None if at is None else (bytes(body) + b"\0" * (version in self.flexible), at)

    def default(self, field: dict, version: int) -> bytes:
        kind, given, compact = field["type"], field.get("default"), version in self.flexible
        null = str(given) == "null" and version in Versions.of(field.get("nullableVersions", "none"))
        if kind in FIXED:
            number = {"true": 1, "false": 0, None: 0}[given] if given in ("true", "false", None) else int(str(given), 0)
            return number.to_bytes(FIXED[kind], "big", signed=kind != "uint16")
        if kind.startswith("[]") or kind in ("bytes", "records"):
            return (b"\0" if null else b"\1") if compact else (b"\xff" * 4 if null else bytes(4))
        if kind == "string":
            return (b"\0" if null else b"\1") if compact else (b"\xff\xff" if null else bytes(2))
        if null:
            return b"\xff"
        here = [one for one in self.fields_of(field, kind) if version in Versions.of(one["versions"]) and not self.is_tagged(one, version)]
        return b"\1" * ("nullableVersions" in field) + b"".join(self.default(one, version) for one in here) + b"\0" * compact


def merge_skips(words: list[int]) -> list[int]:
    """Neighbouring SKIPs become one; words inside of ARRAY, OPTION and TAGS bodies were merged before and are passed over."""
    merged: list[int] = []
    at, open_skip = 0, False
    while at < len(words):
        one = words[at]
        op, arg = one >> 24, one & 0xFFFF
        body = {OPS["ARRAY"]: arg >> 1, OPS["OPTION"]: arg, OPS["TAGS"]: arg}.get(op, 0)
        if op == OPS["SKIP"] and open_skip and (merged[-1] & 0xFFFF) + arg < 65536:
            merged[-1] += arg
        else:
            merged += words[at : at + 1 + body]
        open_skip = op == OPS["SKIP"]
        at += 1 + body
    return merged


def load(jar: Path) -> dict[int, dict[str, Message]]:
    """The messages of the APIs that a broker serves, by key and direction."""
    schemas: dict[int, dict[str, dict]] = {}
    with zipfile.ZipFile(jar) as archive:
        for name in sorted(archive.namelist()):
            if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
                schema = json.loads(re.sub(r"(?m)^\s*//.*$|\s//[^\"\n]*$", "", archive.read(name).decode()))
                if schema["type"] in ("request", "response"):
                    schemas.setdefault(schema["apiKey"], {})[schema["type"]] = schema
    served = {key: pair for key, pair in schemas.items() if "broker" in pair["request"].get("listeners", [])}
    return {key: {direction: Message(schema) for direction, schema in pair.items()} for key, pair in sorted(served.items())}


class Store:
    """Sequences, each kept once; `at` gives the place of a sequence."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.known: dict[tuple[int, ...], int] = {}

    def at(self, sequence: list[int] | bytes) -> int:
        key = tuple(sequence)
        if key not in self.known:
            self.known[key] = len(self.items)
            self.items += sequence
        return self.known[key]


def shape(pair: dict[str, Message], version: int, code: Store, templates: Store) -> str:
    request, response = (pair[direction].program(version) for direction in ("request", "response"))
    template = pair["response"].template(version)
    error = "None"
    if template is not None:
        body, at = template
        error = f"Some(Template {{ at: {templates.at(body)}, length: {len(body)}, error_at: {at} }})"
    return f"Shape {{ request: {code.at(request)}, response: {code.at(response)}, error: {error} }}"


def row(pair: dict[str, Message], code: Store, templates: Store) -> str:
    request = pair["request"]
    name = request.schema["name"].removesuffix("Request")
    flexible = request.flexible.first if request.flexible.last else 32767
    shapes = ", ".join(shape(pair, version, code, templates) for version in range(request.valid.first, request.valid.last + 1))
    head = f'key: {request.key}, name: "{name}", min: {request.valid.first}, max: {request.valid.last}, flexible: {flexible}'
    return f"    Api {{ {head}, shapes: &[{shapes}] }},"


def rust(apis: dict[int, dict[str, Message]], source: str) -> str:
    code, templates = Store(), Store()
    rows = [row(pair, code, templates) for pair in apis.values()]
    keys = {key for key, _ in MEASURED}
    measured = [
        row({direction: Message(message.schema, measured=True) for direction, message in pair.items()}, code, templates)
        for key, pair in apis.items()
        if key in keys
    ]
    constants = [f"pub const {name}: u8 = {number};" for name, number in [*OPS.items()]]
    interests = [f"    pub const {name}: u8 = {number};" for name, number in INTEREST.items()]
    return "\n".join(
        [
            f"//! Generated by msg_mesh/tools/generate_tables.py from {source}; do not edit.",
            "#![allow(missing_docs)]",
            "",
            "use crate::table::{Api, Shape, Template};",
            "",
            *constants,
            "",
            "pub mod interest {",
            *interests,
            "}",
            "",
            "#[rustfmt::skip]",
            f"pub static APIS: [Api; {len(rows)}] = [",
            *rows,
            "];",
            "",
            "#[rustfmt::skip]",
            f"pub static MEASURED: [Api; {len(measured)}] = [",
            *measured,
            "];",
            "",
            "#[rustfmt::skip]",
            f"pub static CODE: [u32; {len(code.items)}] = [",
            *lines(code.items, "0x{:08x}", 12),
            "];",
            "",
            "#[rustfmt::skip]",
            f"pub static TEMPLATES: [u8; {len(templates.items)}] = [",
            *lines(templates.items, "{}", 32),
            "];",
            "",
        ]
    )


def lines(items: list[int], form: str, width: int) -> list[str]:
    return ["    " + ", ".join(form.format(item) for item in items[at : at + width]) + "," for at in range(0, len(items), width)]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    jar = Path(sys.argv[1])
    apis = load(jar)
    TARGET.write_text(rust(apis, f"the message schemas of {jar.name}"))
    print(f"{TARGET.name}: {len(apis)} APIs")


if __name__ == "__main__":
    main()
