"""Obligations W1..W4: state of the world."""

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, Sotw, contents, resource


def test_w1_clusters_come_complete_and_absence_deletes():
    client = Sotw(resource(CLUSTER, "a", "a1"), resource(CLUSTER, "b", "b1"))
    client.subscribe(CLUSTER)
    client.ack(client.hear_one())
    client.offer(resource(CLUSTER, "a", "a2"), resource(CLUSTER, "b", "b1"))
    response = client.hear_one()
    assert contents(response) == ["a2", "b1"]
    client.ack(response)
    client.offer()
    assert contents(client.hear_one()) == []


def test_w1_endpoints_may_be_partial_and_absence_means_nothing():
    client = Sotw(resource(ENDPOINTS, "a", "a1"), resource(ENDPOINTS, "b", "b1"))
    client.subscribe(ENDPOINTS, "a", "b")
    client.ack(client.hear_one(), "a", "b")
    client.offer(resource(ENDPOINTS, "a", "a2"), resource(ENDPOINTS, "b", "b1"))
    response = client.hear_one()
    assert contents(response) == ["a2"]
    client.ack(response, "a", "b")
    client.offer(resource(ENDPOINTS, "b", "b1"))
    assert client.hear() == []


def test_w2_the_names_of_a_stale_request_are_dropped():
    client = Sotw(resource(ENDPOINTS, "a", "a1"), resource(ENDPOINTS, "b", "b1"))
    client.subscribe(ENDPOINTS, "a")
    first = client.hear_one()
    client.offer(resource(ENDPOINTS, "a", "a2"), resource(ENDPOINTS, "b", "b1"))
    second = client.hear_one()
    client.ack(first, "a", "b")
    assert client.hear() == []
    client.ack(second, "a", "b")
    assert contents(client.hear_one()) == ["b1"]


def test_w2_the_verdict_of_a_stale_request_still_counts_for_the_status():
    client = Sotw(resource(ENDPOINTS, "a", "a1"))
    client.subscribe(ENDPOINTS, "a")
    first = client.hear_one()
    client.offer(resource(ENDPOINTS, "a", "a2"))
    client.hear_one()
    assert client.nack(first, "bad", "a").refused["a"].reason == "bad"


def test_w3_a_newly_requested_name_is_sent_even_if_it_was_before():
    client = Sotw(resource(ENDPOINTS, "a", "a1"), resource(ENDPOINTS, "b", "b1"))
    client.subscribe(ENDPOINTS, "a", "b")
    client.ack(client.hear_one(), "b")
    assert client.hear() == []
    response_nonce = client.stream.types[ENDPOINTS].last_nonce
    client.subscribe(ENDPOINTS, "a", "b", response_nonce=response_nonce)
    assert contents(client.hear_one()) == ["a1"]


def test_w4_a_wildcard_at_the_current_version_is_not_sent_again_on_reconnect():
    first = Sotw(resource(CLUSTER, "a"))
    first.subscribe(CLUSTER)
    version = first.hear_one().version_info
    second = Sotw(resource(CLUSTER, "a"))
    second.subscribe(CLUSTER, version_info=version)
    assert second.hear() == []
    second.offer(resource(CLUSTER, "a", "2"))
    assert contents(second.hear_one()) == ["2"]


def test_w4_named_resources_are_sent_again_on_reconnect_because_the_names_may_have_grown():
    first = Sotw(resource(ENDPOINTS, "a"), resource(ENDPOINTS, "b"))
    first.subscribe(ENDPOINTS, "a")
    version = first.hear_one().version_info
    second = Sotw(resource(ENDPOINTS, "a"), resource(ENDPOINTS, "b"))
    second.subscribe(ENDPOINTS, "a", "b", version_info=version)
    assert len(second.hear_one().resources) == 2


def test_a_wildcard_of_nothing_is_answered_so_that_the_client_can_start():
    for type_url in (CLUSTER, ENDPOINTS):
        client = Sotw()
        client.subscribe(type_url)
        assert contents(client.hear_one()) == []
