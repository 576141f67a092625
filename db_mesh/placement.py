"""Arithmetic of placements: hash buckets, key ranges, value lists."""

from collections.abc import Iterator, Sequence

# A key's bucket is xxh64 of its canonical bytes, seed 0, modulo this. It is part of how data lies on disk: it never changes.
BUCKETS = 16384

Complaint = tuple[str, str, str]  # field below the table, reason, advice


def equal_runs(shards: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first, last, shard): all buckets in contiguous runs of equal length, give or take one, in the order of the shards."""
    count = len(shards)
    return [(index * BUCKETS // count, (index + 1) * BUCKETS // count - 1, shard) for index, shard in enumerate(shards)]


def bucket_problems(runs: Sequence[tuple[int, int]]) -> Iterator[Complaint]:
    """Every bucket has exactly one shard."""
    free = 0
    for first, last, index in sorted((first, last, index) for index, (first, last) in enumerate(runs)):
        field = f"buckets[{index}]"
        if first > last:
            yield field, f"first {first} is after last {last}", "exchange them"
        elif first < free:
            yield field, f"overlaps buckets up to {free - 1} of another run", f"begin at {free}"
        elif first > free:
            yield field, f"buckets {free} to {first - 1} have no shard", "close the gap"
        free = max(free, last + 1)
    if free < BUCKETS:
        yield "buckets", f"buckets {free} to {BUCKETS - 1} have no shard", f"list all of 0 to {BUCKETS - 1}"


def range_problems(spans: Sequence[tuple[str | None, str | None]], key_type: str | None) -> Iterator[Complaint]:
    """No key has two shards. Bounds compare as integers, where the key type or all of them say so, else as bytes."""
    bounds = [bound for span in spans for bound in span if bound is not None]
    wrong = [bound for bound in bounds if not _is_integer(bound)]
    if key_type == "integer" and wrong:
        yield "ranges", f"bound {wrong[0]!r} is not an integer, and keyType is integer", "write integers"
        return
    integers = key_type == "integer" or (key_type is None and not wrong)
    ordered = sorted(((_low(start, integers), _high(end, integers), index) for index, (start, end) in enumerate(spans)), key=lambda s: s[0])
    before: tuple | None = None
    for low, high, index in ordered:
        if low[0] == high[0] == 0 and low >= high:
            yield f"ranges[{index}]", "is empty: from is not below to", "exchange or mend the bounds"
            continue
        if before is not None and low < before[0]:
            yield f"ranges[{index}]", f"overlaps ranges[{before[1]}]", "a key must have one shard; let one range end where the next begins"
        if before is None or high > before[0]:
            before = (high, index)


def list_problems(lists: Sequence[Sequence[str]]) -> Iterator[Complaint]:
    """No value has two shards."""
    seen: dict[str, int] = {}
    for index, values in enumerate(lists):
        for number, value in enumerate(values):
            if value in seen:
                yield f"lists[{index}].values[{number}]", f"value {value!r} is listed in lists[{seen[value]}] already", "keep one of them"
            seen.setdefault(value, index)


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _low(bound: str | None, integers: bool) -> tuple:
    """Comparable; no bound is below everything."""
    return (-1,) if bound is None else (0, _value(bound, integers))


def _high(bound: str | None, integers: bool) -> tuple:
    return (1,) if bound is None else (0, _value(bound, integers))


def _value(bound: str, integers: bool) -> int | bytes:
    return int(bound) if integers else bound.encode()
