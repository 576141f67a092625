"""Write `records.txt`: record batches by the codecs of two clients, with what is in them.

    python -m venv /tmp/clients && /tmp/clients/bin/pip install aiokafka==0.14.0 kafka-python==3.0.12 cramjam lz4 python-snappy zstandard
    /tmp/clients/bin/python dataplane/proto-kafka/tests/generate_records.py

A line: the compression, the batch in hex, then each record as OFFSET:TIMESTAMP:KEY:VALUE:NAME=VALUE,... in hex, `-` for null. The seed is fixed.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder as AioBuilder
from kafka.record.default_records import DefaultRecordBatchBuilder as PythonBuilder

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
dice = random.Random(5)


def some(most: int) -> bytes | None:
    return dice.choice((None, b"", dice.randbytes(dice.randrange(1, most)), b"ab" * dice.randrange(1, most)))


def record(offset: int) -> tuple:
    headers = [(dice.choice(("x-lane", "traceparent", "b")), some(9) or b"") for _ in range(dice.randrange(3))]
    return offset, 1_700_000_000_000 + dice.randrange(-5000, 5000), some(20), some(200), headers


def text(field: bytes | None) -> str:
    return "-" if field is None else field.hex()


def shown(one: tuple) -> str:
    offset, timestamp, key, value, headers = one
    names = ",".join(f"{name.encode().hex()}={text(value)}" for name, value in headers)
    return f"{offset}:{timestamp}:{text(key)}:{text(value)}:{names}"


def lines() -> Iterator[str]:
    for number in range(len(CODECS)):
        for builder in (AioBuilder, PythonBuilder):
            for count in (1, 30):
                records = [record(offset) for offset in range(count)]
                options = {"is_transactional": count == 1, "producer_id": 77, "producer_epoch": 3, "base_sequence": 9, "batch_size": 1 << 20}
                batch = builder(magic=2, compression_type=number, **options)
                for offset, timestamp, key, value, headers in records:
                    batch.append(offset, timestamp, key, value, headers)
                built = bytes(batch.build())
                # What would not be shorter kafka-python does not compress.
                yield " ".join((CODECS[built[22] & 7], built.hex(), *map(shown, records)))


if __name__ == "__main__":
    Path(__file__).with_name("records.txt").write_text("\n".join(lines()) + "\n")
