"""The benchmark's fleet on a real control plane: a connect storm and a change, and every sidecar holds exactly what there is."""

from functools import partial

import pytest

from tests.bench.xds.phases import Bench, connect
from tests.bench.xds.server import Server

SIDECARS = 150
WITHIN_S = 100


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mutual-tls"])
def test_all_that_come_at_once_are_served_and_follow_a_change(tls: bool) -> None:
    server = Server(tls=tls)
    try:
        bench = Bench(server, SIDECARS, 100)
        connect(bench)
        before = server.version()
        bench.meanwhile(partial(bench.change, 3))
        assert server.version() != before
        bench.fleet.run(bench.all_at(server.version()), WITHIN_S)
        assert not bench.fleet.lost
        bench.fleet.close()
    finally:
        server.close()
