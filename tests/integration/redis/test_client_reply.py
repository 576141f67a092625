"""CLIENT REPLY beside one server: the same commands give the same bytes."""

from collections.abc import Iterator

import pytest

from mesh_core.lab import RedisCluster, RedisServer, ports
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import objects
from tests.integration.redis.raw import Raw

END = b"$3\r\nend\r\n"

SCENES: dict[str, str] = {
    "skip": "CLIENT REPLY SKIP; SET a 1; GET a; CLIENT REPLY SKIP; CLIENT REPLY SKIP; INCR a; INCR a; GET a",
    "skip of an error": "CLIENT REPLY SKIP; NOSUCH; CLIENT REPLY SKIP; GET; CLIENT REPLY SKIP; CLIENT REPLY x; CLIENT REPLY x; PING",
    "off": "CLIENT REPLY OFF; SET a 1; INCR b; NOSUCH; CLIENT REPLY SKIP; PING; CLIENT REPLY ON; MGET a b",
    "off and on": "CLIENT REPLY SKIP; CLIENT REPLY OFF; PING; CLIENT REPLY ON; PING; CLIENT REPLY SKIP; CLIENT REPLY ON; PING",
    "reset": "CLIENT REPLY OFF; SET a 1; RESET; GET a; CLIENT REPLY SKIP; RESET; GET a",
    "several slots": "CLIENT REPLY SKIP; MSET a 1 b 2 c 3; CLIENT REPLY SKIP; MGET a b c; DEL a b; CLIENT REPLY SKIP; RENAME c d; GET d",
    "several nodes": "MSET a 1 b 2; CLIENT REPLY SKIP; DBSIZE; DBSIZE; CLIENT REPLY SKIP; KEYS *; CLIENT REPLY SKIP; FLUSHALL; DBSIZE",
    "a transaction": "CLIENT REPLY SKIP; MULTI; INCR a; EXEC; CLIENT REPLY OFF; MULTI; INCR a; EXEC; CLIENT REPLY ON; GET a",
    "inside a transaction": "MULTI; INCR a; CLIENT REPLY OFF; EXEC; MULTI; CLIENT REPLY SKIP; INCR a; EXEC; GET a",
    "queued": "MULTI; INCR a; EXEC; MULTI; GET a; DISCARD; CLIENT REPLY SKIP; EXEC; PING",
    "watched": "CLIENT REPLY SKIP; WATCH a; CLIENT REPLY OFF; MULTI; INCR a; EXEC; CLIENT REPLY ON; GET a",
    "blocking": "CLIENT REPLY SKIP; BLPOP l 0.05; PING; RPUSH l x y; CLIENT REPLY SKIP; BLPOP l 1; BLPOP m l 1",
    "scripts": "CLIENT REPLY OFF; EVAL return{1,redis.call('INCR',KEYS[1])} 1 a; CLIENT REPLY ON; GET a",
    "large": "SETRANGE a 3000000 x; CLIENT REPLY SKIP; GET a; STRLEN a; CLIENT REPLY SKIP; GET a; CLIENT REPLY SKIP; GETDEL a; EXISTS a",
    "hello": "CLIENT REPLY OFF; CLIENT SETNAME me; HELLO 3; CLIENT REPLY ON; GET nosuch; CLIENT GETNAME",
    "messages": "CLIENT REPLY OFF; SUBSCRIBE n; UNSUBSCRIBE n; CLIENT REPLY ON; GET a",
    "more messages": "CLIENT REPLY SKIP; PSUBSCRIBE n; PUNSUBSCRIBE; PING; CLIENT REPLY SKIP; SSUBSCRIBE a; SUNSUBSCRIBE a; PING",
}


def answers(port: int, resp: int, scene: str, at_once: bool) -> bytes:
    with Raw(port) as connection:
        connection.ask("FLUSHALL")
    with Raw(port, resp) as connection:
        lines = [line.split(" ") for line in [*scene.split("; "), "CLIENT REPLY ON", "ECHO end"]]
        for part in [lines] if at_once else [[line] for line in lines]:
            connection.send_all(part)
        heard = b""
        while not heard.endswith(END):
            heard += connection.read()
        return heard


@pytest.fixture(scope="module")
def through(redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = ports.free()
    sidecar = Sidecar(objects(redis_cluster.addresses, port), tmp_path_factory.mktemp("reply"))
    sidecar.start()
    yield port
    sidecar.kill()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("scene", SCENES)
def test_the_bytes_are_those_of_one_server(single: RedisServer, through: int, scene: str, resp: int) -> None:
    for at_once in (True, False):
        assert answers(through, resp, SCENES[scene], at_once) == answers(single.port, resp, SCENES[scene], at_once)
