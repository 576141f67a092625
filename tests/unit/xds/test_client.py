"""Obligations C1..C9 of a client, against our own server machine and against a scripted one."""

import pytest

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, LISTENER, RULE, Delta, names, resource
from xds.messages import message
from xds.protocol.client import DeltaClient, Held
from xds.protocol.report import REPORT_URL, Refused

NODE = message("envoy.config.core.v3.Node")(id="shop-1")
RESPONSE = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")


class Pair:
    """A client on a stream of a server."""

    def __init__(self, *resources, types=(CLUSTER, RULE, LISTENER), held=()):
        self.client = DeltaClient(NODE, types, held)
        self.reconnect(*resources)

    def reconnect(self, *resources):
        self.client.disconnected()
        self.server = Delta(*resources)
        self.requests = self.client.connected()
        for request in self.requests:
            self.server.stream.receive(request)

    def sync(self, *refusals):
        """Deliver what is due, apply it with these refusals, deliver the answers. Returns the update and the verdicts."""
        for response in self.server.hear():
            self.client.receive(response)
        update = self.client.take()
        if update is None:
            return None, []
        answers = self.client.applied(update, refusals)
        return update, [self.server.stream.receive(answer) for answer in answers]

    def held(self):
        return {name: item.value.decode() for (_, name), item in self.client.held.items()}


def refused(type_url, name, reason="no"):
    return Refused(type_url, name, "", "spec", reason)


def test_c1_every_response_is_answered_with_its_nonce():
    pair = Pair(resource(CLUSTER, "a"), resource(RULE, "r"))
    _, verdicts = pair.sync()
    assert [(verdict.type_url, verdict.names, verdict.refused) for verdict in verdicts] == [
        (CLUSTER, ("a",), None),
        (RULE, ("r",), None),
        (LISTENER, (), None),
    ]


def test_c2_what_is_held_survives_the_stream():
    pair = Pair(resource(CLUSTER, "a"))
    pair.sync()
    pair.client.disconnected()
    assert pair.held() == {"a": "1"}


def test_c3_a_nack_carries_nonce_and_error_and_what_was_before_stays():
    pair = Pair(resource(RULE, "r", "good"))
    pair.sync()
    pair.server.offer(resource(RULE, "r", "bad"))
    _, (verdict,) = pair.sync(refused(RULE, "r", "out of range"))
    assert verdict.refused["r"].reason == "out of range"
    assert pair.held() == {"r": "good"}


def test_c5_what_was_not_asked_for_is_acknowledged_and_not_used():
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_response(RULE, "1"))
    client.receive(_response(CLUSTER, "2", a="1"))
    update = client.take(force=True)
    assert not update.changed
    answers = client.applied(update, [])
    assert [(answer.response_nonce, answer.HasField("error_detail")) for answer in answers] == [("1", False), ("2", False)]


def test_c5_a_name_twice_in_one_response_is_refused():
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_response(RULE, "1"))
    client.applied(client.take(force=True), [])
    response = _response(RULE, "2", a="1")
    response.resources.append(response.resources[0])
    client.receive(response)
    update = client.take(force=True)
    assert not update.changed
    (answer,) = client.applied(update, [])
    assert "twice" in answer.error_detail.message


def test_c6_the_good_are_taken_beside_the_bad_and_each_bad_one_is_named():
    pair = Pair(resource(RULE, "a"), resource(RULE, "b"), resource(RULE, "c"), types=(RULE,))
    _, (verdict,) = pair.sync(refused(RULE, "a", "first"), refused(RULE, "c", "third"))
    assert {name: item.reason for name, item in verdict.refused.items()} == {"a": "first", "c": "third"}
    assert pair.held() == {"b": "1"}


def test_c6_the_nack_is_readable_by_foreign_servers_and_structured_for_ours():
    pair = Pair(resource(RULE, "a"), types=(RULE,))
    for response in pair.server.hear():
        pair.client.receive(response)
    (answer,) = pair.client.applied(pair.client.take(), [refused(RULE, "a", "too many")])
    assert answer.error_detail.message == "RateLimit a at spec: too many"
    assert answer.error_detail.details[0].type_url == REPORT_URL


def test_c7_reconnect_says_what_is_held_and_only_differences_come():
    pair = Pair(resource(RULE, "same"), resource(RULE, "gone"), types=(RULE,))
    pair.sync()
    pair.reconnect(resource(RULE, "same"), resource(RULE, "new"))
    assert set(pair.requests[0].initial_resource_versions) == {"same", "gone"}
    update, _ = pair.sync()
    assert ([name for _, name in update.changed], [name for _, name in update.removed]) == (["new"], ["gone"])
    assert set(pair.held()) == {"same", "new"}


def test_c7_what_was_refused_is_not_claimed_and_so_comes_again():
    pair = Pair(resource(RULE, "r", "bad"), types=(RULE,))
    pair.sync(refused(RULE, "r"))
    pair.reconnect(resource(RULE, "r", "bad"))
    assert not pair.requests[0].initial_resource_versions
    update, (verdict,) = pair.sync()
    assert (list(update.changed), verdict.refused) == ([(RULE, "r")], None)


def test_a_sidecar_that_starts_from_its_disk_gets_only_the_differences():
    a = resource(RULE, "a")
    pair = Pair(a, resource(RULE, "b"), types=(RULE,), held=[Held(RULE, "a", a.version, a.value)])
    update, _ = pair.sync()
    assert [name for _, name in update.changed] == ["b"]


def test_nothing_is_taken_before_every_type_was_answered():
    client = DeltaClient(NODE, (RULE, LISTENER))
    client.connected()
    client.receive(_response(LISTENER, "1", shop="open"))
    assert client.take(force=True) is None
    client.receive(_response(RULE, "2", deny="all"))
    assert len(client.take(force=True).changed) == 2


def test_a_push_over_several_types_is_one_update():
    pair = Pair()
    pair.sync()
    pair.server.offer(resource(CLUSTER, "c"), resource(RULE, "r"), resource(LISTENER, "l"))
    responses = pair.server.hear()
    for response in responses[:-1]:
        pair.client.receive(response)
        assert pair.client.take() is None
    pair.client.receive(responses[-1])
    assert len(pair.client.take().changed) == 3


def test_refresh_brings_a_refused_resource_again_and_corrects_its_status():
    pair = Pair(resource(LISTENER, "l"), types=(LISTENER,))
    pair.sync(refused(LISTENER, "l", "address in use"))
    assert "l" in pair.server.stream.types[LISTENER].refused
    pair.server.stream.receive(pair.client.refresh(LISTENER, ["l"]))
    update, (verdict,) = pair.sync()
    assert list(update.changed) == [(LISTENER, "l")]
    assert verdict.refused is None
    assert pair.server.stream.types[LISTENER].refused == {}


def test_what_was_refused_and_then_removed_is_told():
    pair = Pair(resource(LISTENER, "l"), types=(LISTENER,))
    pair.sync(refused(LISTENER, "l"))
    pair.server.offer()
    update, _ = pair.sync()
    assert update.removed == {(LISTENER, "l")}


@pytest.mark.parametrize("info", ["", "a debug string of somebody else"])
def test_a_server_that_announces_nothing_is_followed_after_a_silence(info):
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_response(RULE, "1", info=info, a="1"))
    assert client.take() is None
    assert client.waiting
    assert client.take(force=True).changed


def _response(type_url, nonce, *, info="", **contents):
    response = RESPONSE(type_url=type_url, nonce=nonce, system_version_info=info)
    for name, value in contents.items():
        item = response.resources.add(name=name, version=value)
        item.resource.type_url, item.resource.value = type_url, value.encode()
    assert names(response) == list(contents)
    return response


ENDPOINTS_OF = {"named": [ENDPOINTS], "references": lambda held: [(ENDPOINTS, held.name)] * (held.type_url == CLUSTER)}


def test_c4_a_name_that_nobody_answers_does_not_exist_after_15_seconds():
    client = DeltaClient(NODE, (CLUSTER, LISTENER), **ENDPOINTS_OF)
    client.connected(now=100.0)
    (asking,) = client.receive(_response(CLUSTER, "1", a="1"), now=101.0)
    assert list(asking.resource_names_subscribe) == ["a"]
    assert (client.alarm, client.tick(115.9)) == (116.0, [])
    (next_type,) = client.tick(116.0)
    assert (next_type.type_url, client.absent) == (LISTENER, {(ENDPOINTS, "a")})
    client.receive(_response(LISTENER, "2", l="1"), now=117.0)
    assert set(client.take(force=True).changed) == {(CLUSTER, "a"), (LISTENER, "l")}


def test_c4_what_comes_later_exists_again():
    client = DeltaClient(NODE, (CLUSTER,), **ENDPOINTS_OF)
    client.connected()
    client.receive(_response(CLUSTER, "1", a="1"))
    client.tick(15.0)
    client.receive(_response(ENDPOINTS, "2", a="1"), now=20.0)
    assert client.absent == set()
    assert set(client.take(force=True).changed) == {(CLUSTER, "a"), (ENDPOINTS, "a")}


def test_c8_what_is_held_and_confirmed_is_not_waited_for():
    held = [Held(CLUSTER, "a", "1", b"1"), Held(ENDPOINTS, "a", "1", b"1")]
    client = DeltaClient(NODE, (CLUSTER,), held, **ENDPOINTS_OF)
    client.connected()
    (asking,) = client.receive(_response(CLUSTER, "1"))
    assert dict(asking.initial_resource_versions) == {"a": "1"}
    assert client.alarm is None


def test_c9_what_is_not_renewed_is_dropped_even_without_a_stream():
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_mortal("1", "a", 10, b"1"), now=100.0)
    client.applied(client.take(force=True), [])
    client.receive(_mortal("2", "a", 10, None), now=105.0)
    client.disconnected()
    assert (client.expiry, client.expire(114.9)) == (115.0, None)
    update = client.expire(115.0)
    client.applied(update, [])
    assert (update.removed, client.held, client.expiry) == ({(RULE, "a")}, {}, None)


def test_c9_a_heartbeat_of_what_was_dropped_makes_it_asked_for():
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_mortal("1", "a", 10, b"1"), now=100.0)
    client.applied(client.take(force=True), [])
    client.applied(client.expire(110.0), [])
    (asking,) = client.receive(_mortal("2", "a", 10, None), now=111.0)
    assert list(asking.resource_names_subscribe) == ["a"]


def test_c9_a_resource_without_ttl_lives_on():
    client = DeltaClient(NODE, (RULE,))
    client.connected()
    client.receive(_mortal("1", "a", 10, b"1"), now=100.0)
    client.receive(_response(RULE, "2", a="2"), now=101.0)
    assert client.expiry is None


def _mortal(nonce, name, ttl_s, value):
    response = RESPONSE(type_url=RULE, nonce=nonce)
    item = response.resources.add(name=name, version="1", ttl={"seconds": ttl_s})
    if value is not None:
        item.resource.type_url, item.resource.value = RULE, value
    return response
