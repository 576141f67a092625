"""Obligations S1..S9 of a server, where both variants share them."""

import pytest

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, LISTENER, RULE, Delta, Sotw, contents, names, resource
from xds.protocol.stream import MAX_TYPES, StreamError

BOTH = pytest.mark.parametrize("peer", [Delta, Sotw])


@BOTH
def test_s1_each_type_on_a_stream_is_a_logical_stream_of_its_own(peer):
    client = peer(resource(CLUSTER, "a"), resource(LISTENER, "l"))
    client.subscribe(CLUSTER)
    clusters = client.hear_one()
    client.subscribe(LISTENER)
    listeners = client.hear_one()
    assert [clusters.type_url, listeners.type_url] == [CLUSTER, LISTENER]
    # The answer to one type says nothing of the other.
    assert client.nack(listeners, "no").names == ("l",)
    assert client.ack(clusters).refused is None


@BOTH
def test_s2_the_node_of_the_first_request_counts_for_the_stream(peer):
    client = peer(resource(CLUSTER, "a"))
    client.subscribe(CLUSTER, node={"id": "shop-1"})
    client.subscribe(LISTENER)
    assert client.stream.node.id == "shop-1"


@BOTH
def test_s3_a_nonce_of_an_earlier_stream_means_nothing(peer):
    first = peer(resource(CLUSTER, "a"))
    first.subscribe(CLUSTER)
    response = first.hear_one()
    second = peer(resource(CLUSTER, "a"))
    assert second.nack(response, "from before") is None
    assert second.stream.types[CLUSTER].refused == {}


@BOTH
def test_s4_only_error_detail_makes_a_nack(peer):
    client = peer(resource(CLUSTER, "a"))
    client.subscribe(CLUSTER)
    verdict = client.nack(client.hear_one(), "bad timeout")
    assert verdict.refused["a"].reason == "bad timeout"
    client.offer(resource(CLUSTER, "a", "2"))
    response = client.hear_one()
    # The same response without error_detail is an ACK, whatever version it carries.
    fields = {"version_info": "an older one"} if peer is Sotw else {}
    verdict = client.send(CLUSTER, response_nonce=response.nonce, **fields)
    assert verdict.refused is None
    assert client.stream.types[CLUSTER].refused == {}


@BOTH
def test_s5_nothing_is_sent_twice_and_an_ack_is_not_answered(peer):
    client = peer(resource(CLUSTER, "a"), resource(RULE, "r"))
    client.subscribe(CLUSTER)
    client.subscribe(RULE)
    for response in client.hear():
        client.ack(response)
    assert client.hear() == []
    client.offer(resource(CLUSTER, "a"), resource(RULE, "r", "2"))
    assert contents(client.hear_one()) == ["2"]


@BOTH
def test_s5_a_nack_does_not_bring_the_same_again(peer):
    client = peer(resource(CLUSTER, "a"))
    client.subscribe(CLUSTER)
    client.nack(client.hear_one(), "no")
    assert client.hear() == []


@BOTH
def test_s6_a_name_that_does_not_exist_is_sent_when_it_appears(peer):
    client = peer()
    client.subscribe(ENDPOINTS, "later")
    for response in client.hear():
        assert contents(response) == []
        client.ack(response, *(["later"] if peer is Sotw else []))
    client.offer(resource(ENDPOINTS, "other"))
    assert client.hear() == []
    client.offer(resource(ENDPOINTS, "other"), resource(ENDPOINTS, "later", "here"))
    assert contents(client.hear_one()) == ["here"]


@BOTH
def test_s8_a_first_request_without_names_is_the_wildcard(peer):
    client = peer(resource(CLUSTER, "a"), resource(CLUSTER, "b"))
    client.subscribe(CLUSTER)
    assert len(client.hear_one().resources) == 2


@BOTH
def test_s8_the_star_is_the_wildcard(peer):
    client = peer(resource(CLUSTER, "a"), resource(CLUSTER, "b"))
    client.subscribe(CLUSTER, "*")
    assert len(client.hear_one().resources) == 2


def test_s8_no_names_after_a_name_unsubscribes_from_all_in_state_of_the_world():
    client = Sotw(resource(RULE, "a"), resource(RULE, "b"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    client.offer(resource(RULE, "a", "2"), resource(RULE, "b", "2"))
    assert client.hear() == []


def test_s8_no_names_after_a_name_is_no_wildcard_in_delta():
    client = Delta(resource(RULE, "a"), resource(RULE, "b"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    client.unsubscribe(RULE, "a")
    client.subscribe(RULE)
    client.offer(resource(RULE, "a", "2"), resource(RULE, "b", "2"))
    assert client.hear() == []


def test_s8_the_legacy_wildcard_goes_on_beside_an_explicit_name_in_delta():
    client = Delta(resource(RULE, "a"), resource(RULE, "b"))
    client.subscribe(RULE)
    client.ack(client.hear_one())
    client.subscribe(RULE, "a")
    assert names(client.hear_one()) == ["a"]
    client.offer(resource(RULE, "a"), resource(RULE, "b", "2"))
    assert names(client.hear_one()) == ["b"]
    client.unsubscribe(RULE, "*")
    client.offer(resource(RULE, "a", "3"), resource(RULE, "b", "3"))
    assert names(client.hear_one()) == ["a"]


def test_s8_a_name_without_the_star_ends_the_wildcard_in_state_of_the_world():
    client = Sotw(resource(RULE, "a"), resource(RULE, "b"))
    client.subscribe(RULE)
    client.ack(client.hear_one(), "a")
    client.hear()
    client.offer(resource(RULE, "a"), resource(RULE, "b", "2"))
    assert client.hear() == []


@BOTH
def test_s9_endpoints_are_answered_again_after_their_cluster_changed(peer):
    warms = ((ENDPOINTS, "a"),)
    client = peer(resource(CLUSTER, "a", warms=warms), resource(ENDPOINTS, "a", "e"), resource(ENDPOINTS, "b", "e"))
    client.subscribe(CLUSTER)
    client.subscribe(ENDPOINTS, "a", "b")
    for response in client.hear():
        client.ack(response, *(["a", "b"] if peer is Sotw and response.type_url == ENDPOINTS else []))
    client.offer(resource(CLUSTER, "a", "2", warms=warms), resource(ENDPOINTS, "a", "e"), resource(ENDPOINTS, "b", "e"))
    cluster, endpoints = client.hear()
    assert (cluster.type_url, endpoints.type_url) == (CLUSTER, ENDPOINTS)
    assert contents(endpoints) == ["e"]


@BOTH
def test_a_client_that_invents_types_is_ended(peer):
    client = peer()
    for number in range(MAX_TYPES):
        client.subscribe(f"type.googleapis.com/t{number}")
    with pytest.raises(StreamError, match="more than 64 resource types"):
        client.subscribe("type.googleapis.com/one.more")


@BOTH
def test_a_request_without_type_is_ended(peer):
    with pytest.raises(StreamError, match="no type_url"):
        peer().subscribe("")
