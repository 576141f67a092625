"""What goes from slot to slot under contention: nothing is lost, nothing comes twice while no connection breaks."""

import threading
from collections.abc import Callable

import redis

from mesh_core.lab import RedisCluster, ports
from mesh_core.lab.redis_migration import SlotMigration
from tests.integration.process import Sidecar
from tests.integration.redis.conftest import Client, connect, objects

CLIENTS = 6
ELEMENTS = 300


def all_together(work: Callable[[int], None], count: int = CLIENTS) -> None:
    """Runs ``work`` in so many threads; raises what one of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_elements_that_many_move_and_others_pop_are_all_there_once(mesh: Client) -> None:
    """`a` is in another slot than each `to:n`; two of the clients take from `a` by LPOP, which knows nothing of claims."""
    elements = [str(number) for number in range(ELEMENTS)]
    mesh().rpush("a", *elements)
    popped: list[str] = []

    def work(number: int) -> None:
        client = mesh()
        if number < 2:
            for _ in range(ELEMENTS // 4):
                popped.append(str(client.lpop("a")))
        else:
            while client.lmove("a", f"to:{number}", "LEFT", "RIGHT") is not None:
                pass

    all_together(work)
    moved = [element for number in range(2, CLIENTS) for element in mesh().lrange(f"to:{number}", 0, -1)]
    assert sorted(element for element in popped + moved if element != "None") == sorted(elements)
    assert len(moved) >= ELEMENTS // 2
    assert mesh().keys("midstream:*") == []


def test_elements_of_several_slots_are_popped_once_each(mesh: Client) -> None:
    """Consumers wait at three lists of three nodes; producers push to all of them."""
    popped: list[str] = []

    def work(number: int) -> None:
        client = mesh()
        if number % 2:
            for element in range(ELEMENTS // 3):
                client.rpush("abc"[element % 3], f"{number}:{element}")
        else:
            while (found := client.blpop(["a", "b", "c"], timeout=2)) is not None:
                popped.append(found[1])

    all_together(work)
    assert sorted(popped) == sorted(f"{number}:{element}" for number in range(1, CLIENTS, 2) for element in range(ELEMENTS // 3))


def test_what_is_written_to_a_key_while_it_is_renamed_is_not_lost(mesh: Client) -> None:
    """Counters are increased under one name, renamed away to another slot, and added up there."""
    taken: list[int] = []
    done = threading.Event()

    def work(number: int) -> None:
        client = mesh()
        if number > 0:
            for _ in range(ELEMENTS):
                client.incr("a")
            return
        while not done.is_set():
            try:
                client.renamenx("a", "b")
            except redis.ResponseError as error:
                assert "no such key" in str(error) or isinstance(error, redis.exceptions.TryAgainError)
            taken.append(int(client.getdel("b") or 0))

    taker = threading.Thread(target=work, args=(0,))
    taker.start()
    all_together(lambda number: work(number + 1), CLIENTS - 1)
    done.set()
    taker.join()
    left = sum(int(value or 0) for value in mesh().mget("a", "b"))
    assert sum(taken) + left == ELEMENTS * (CLIENTS - 1)


def test_a_client_that_waits_at_several_slots_is_unblocked(mesh: Client) -> None:
    waiting, other = mesh(), mesh()
    number = waiting.client_id()
    answers: list[object] = []

    def wait() -> None:
        answers.append(waiting.blpop(["a", "b"], timeout=30))

    thread = threading.Thread(target=wait)
    thread.start()
    while not other.client_unblock(number):
        pass
    thread.join()
    assert answers == [None]


def test_a_scan_finds_all_keys_while_slots_move(own_cluster: RedisCluster, sidecar: Callable[..., Sidecar]) -> None:
    """Slots go from each master to the next between the calls of one scan, those before its place and those behind."""
    port = ports.free()
    sidecar(objects(own_cluster.addresses, port))
    client = connect(port)
    keys = {f"key:{number}" for number in range(2000)}
    client.mset(dict.fromkeys(keys, "x"))
    masters = [own_cluster.master(shard) for shard in range(3)]
    moves = [(shard, shard * 5461 + offset) for offset in (0, 1, 2700, 5459) for shard in range(3)]
    found: set[str] = set()
    cursor = -1
    while cursor != 0:
        cursor, some = client.scan(max(cursor, 0), count=50)
        found |= set(some)
        if moves:
            shard, slot = moves.pop()
            migration = SlotMigration(slot, masters[shard], masters[(shard + 1) % 3], masters)
            migration.begin()
            migration.finish()
    assert found == keys
    assert moves == []
