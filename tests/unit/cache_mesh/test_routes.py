"""RedisRoutes: what is wrong with them is said with file, line and field."""

import pytest

from tests.unit.mesh_core.shop import SHOP, complaints

ROUTES = """
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {name: one}
spec:
  listeners: [cache]
  routes:
    - {prefix: "a:", backend: cache, rewrite: ""}
---
apiVersion: midstream/v1
kind: RedisRoutes
metadata: {name: two}
spec: {listeners: ["*"], routes: [{prefix: "b:", backend: cache}]}
"""


def test_good_ones_are_taken() -> None:
    assert complaints(SHOP + ROUTES) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"a:", backend: cache',
            '"a:", backend: cash',
            "RedisRoutes one: spec.routes[0].backend: there is no RedisCluster cash; did you mean cache?",
        ),
        ("[cache]\n  routes", "[shop]\n  routes", "RedisRoutes one: spec.listeners[0]: Listener shop speaks postgres; name a redis listener"),
        ("[cache]\n  routes", "[cash]\n  routes", "RedisRoutes one: spec.listeners[0]: there is no Listener cash; did you mean cache?"),
        ('"b:"', '"a:"', "RedisRoutes two: spec.routes[0].prefix: 'a:' is taken by RedisRoutes one"),
        ('[{prefix: "b:", backend: cache}]', "[]", "RedisRoutes two: spec.routes: list should have at least 1 item"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    assert old in ROUTES
    assert any(said in complaint for complaint in complaints(SHOP + ROUTES.replace(old, new))), complaints(SHOP + ROUTES.replace(old, new))


def test_a_prefix_twice_in_one_object() -> None:
    twice = ROUTES.replace('- {prefix: "a:"', '- {prefix: "a:", backend: cache}\n    - {prefix: "a:"')
    assert ["spec.routes[1].prefix: 'a:' is taken by a route above" in complaint for complaint in complaints(SHOP + twice)] == [True]
