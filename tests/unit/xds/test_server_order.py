"""S10: make before break, in both variants."""

import pytest

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, LISTENER, RULE, Delta, Sotw, contents, names, resource

BOTH = pytest.mark.parametrize("peer", [Delta, Sotw])
ALL = (LISTENER, RULE, ENDPOINTS, CLUSTER)  # asked for in the wrong order


def settled(client):
    for type_url in ALL:
        client.subscribe(type_url)
    for response in client.hear():
        client.ack(response)
    return client


def test_s10_delta_sends_what_is_referred_to_first_and_rules_before_listeners():
    client = settled(Delta())
    client.offer(*(resource(type_url, "x") for type_url in ALL))
    assert [response.type_url for response in client.hear()] == [CLUSTER, ENDPOINTS, RULE, LISTENER]


def test_s10_sotw_sends_what_is_referred_to_first_and_rules_before_listeners():
    client = settled(Sotw())
    client.offer(*(resource(type_url, "x") for type_url in ALL))
    assert [response.type_url for response in client.hear()] == [CLUSTER, ENDPOINTS, RULE, LISTENER]


def test_s10_delta_removes_last_and_in_the_opposite_order():
    client = settled(Delta(*(resource(type_url, "old") for type_url in ALL)))
    client.offer(*(resource(type_url, "new") for type_url in ALL))
    responses = client.hear()
    assert [(response.type_url, names(response), list(response.removed_resources)) for response in responses] == [
        (CLUSTER, ["new"], []),
        (ENDPOINTS, ["new"], []),
        (RULE, ["new"], []),
        (LISTENER, ["new"], []),
        (LISTENER, [], ["old"]),
        (RULE, [], ["old"]),
        (ENDPOINTS, [], ["old"]),
        (CLUSTER, [], ["old"]),
    ]


def test_s10_sotw_keeps_the_old_cluster_until_listeners_have_changed():
    client = settled(Sotw(resource(CLUSTER, "old", "c-old"), resource(LISTENER, "l", "to old")))
    client.offer(resource(CLUSTER, "new", "c-new"), resource(LISTENER, "l", "to new"))
    assert [(response.type_url, contents(response)) for response in client.hear()] == [
        (CLUSTER, ["c-new", "c-old"]),
        (LISTENER, ["to new"]),
        (CLUSTER, ["c-new"]),
    ]


def test_s10_sotw_only_removal_is_one_response():
    client = settled(Sotw(resource(CLUSTER, "a"), resource(CLUSTER, "b", "b")))
    client.offer(resource(CLUSTER, "b", "b"))
    assert contents(client.hear_one()) == ["b"]


def test_what_a_slow_client_has_not_taken_is_compared_with_the_newest_snapshot():
    client = settled(Delta())
    for content in "123":
        client.offer(resource(RULE, "r", content))
    assert contents(client.hear_one()) == ["3"]


def before_a_new_cluster(peer):
    """A client that asks for endpoints by name, and has read of cluster b, whose endpoints it must ask for."""
    client = peer(resource(CLUSTER, "a"), resource(ENDPOINTS, "a"), resource(LISTENER, "l"))
    client.subscribe(CLUSTER)
    client.subscribe(ENDPOINTS, "a")
    client.subscribe(LISTENER)
    for response in client.hear():
        client.ack(response, *(["a"] if peer is Sotw and response.type_url == ENDPOINTS else []))
    new = resource(CLUSTER, "b", warms=((ENDPOINTS, "b"),))
    client.offer(resource(CLUSTER, "a"), new, resource(ENDPOINTS, "a"), resource(ENDPOINTS, "b"), resource(LISTENER, "l", "to b"))
    cluster = client.hear_one()
    assert (cluster.type_url, client.stream.waiting) == (CLUSTER, True)
    return client, cluster


@BOTH
def test_s10_a_listener_waits_for_the_question_for_its_new_endpoints(peer):
    client, cluster = before_a_new_cluster(peer)
    client.ack(cluster)
    assert client.hear() == []
    nonce = client.stream.types[ENDPOINTS].last_nonce
    client.subscribe(ENDPOINTS, *(["a", "b"] if peer is Sotw else ["b"]), response_nonce=nonce)
    assert [response.type_url for response in client.hear()] == [ENDPOINTS, LISTENER]


@BOTH
def test_s10_after_a_refusal_nothing_is_waited_for(peer):
    client, cluster = before_a_new_cluster(peer)
    client.nack(cluster, "no")
    assert client.hear_one().type_url == LISTENER


@BOTH
def test_s10_patience_ends(peer):
    client, _ = before_a_new_cluster(peer)
    client.stream.stop_waiting()
    assert client.hear_one().type_url == LISTENER


@BOTH
def test_s10_endpoints_that_went_are_not_waited_for(peer):
    client, _ = before_a_new_cluster(peer)
    client.offer(resource(CLUSTER, "a"), resource(ENDPOINTS, "a"), resource(LISTENER, "l", "to a"))
    assert LISTENER in [response.type_url for response in client.hear()]
