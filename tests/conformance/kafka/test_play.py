"""What judges the scenes: the sniffer, the comparison, the normal form, the file of differences."""

from pathlib import Path

from mesh_core.lab import ports

from ..suite import HOST
from .play import Expected, differences, expected
from .scene import At
from .sniffer import Sniffer

ACCEPTED = [Expected(("plain",), "one", ("hidden .*",), "it is hidden")]


def test_a_line_that_differs_is_found_unless_it_may() -> None:
    direct = {"one": ["same", "hidden a"], "two": ["hidden a"]}
    assert differences("plain", direct, {"one": ["same", "hidden b"], "two": ["hidden a"]}, ACCEPTED) == ([], 2)
    assert differences("plain", direct, {"one": ["same"], "two": []}, ACCEPTED) == (["two:", "  -hidden a"], 1)
    assert differences("prefixed", direct, {"one": ["same", "hidden b"], "two": ["hidden a"]}, ACCEPTED)[1] == 0


def test_a_scene_that_fails_directly_proves_nothing() -> None:
    failed = {"one": ["FAILED Failed: no"]}
    assert differences("plain", failed, failed, ACCEPTED)[0]


def test_the_differences_have_reasons() -> None:
    assert expected()


def test_lines_have_a_normal_form() -> None:
    at = At("127.0.0.1:9000", 1, Path(), {"127.0.0.1:9001": "broker-1", "127.0.0.1:90010": "broker-9"})
    told = "--bootstrap-server 127.0.0.1:9000 at 127.0.0.1:9001 and 127.0.0.1 90010, MkU3OEVBNTcwNTJENDM2Qg"
    assert at.normal(told) == "--bootstrap-server BOOTSTRAP at broker-1 and broker-9, UUID"


def test_what_must_not_be_seen_is_found_across_pieces() -> None:
    sniffer = Sniffer({ports.free(): 0}, [b"127.77.0.1"])
    before = b""
    for piece in (b"host 127.", b"77", b".0.1 port", b" 127.77.0.2"):
        before = sniffer._look(before + piece, len(piece), 1)
    assert len(sniffer.found) == 1 and sniffer.seen_bytes == 31


def test_the_sniffer_passes_on_what_it_reads() -> None:
    import asyncio

    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read(100)).upper())
            writer.close()

        here, there = ports.free_range(2)
        server = await asyncio.start_server(answer, HOST, there)
        with Sniffer({here: there}, [b"SECRET"]) as sniffer:
            reader, writer = await asyncio.open_connection(HOST, here)
            writer.write(b"a secret")
            said = await reader.read()
            writer.close()
            assert len(sniffer.found) == 1
        server.close()
        return said

    assert asyncio.run(talk()) == b"A SECRET"
