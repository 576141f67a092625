"""Obligations D1..D8: delta."""

from tests.unit.xds.peer import CLUSTER, RULE, Delta, names, resource
from xds.messages import message
from xds.protocol.resource import Resource

FOUR_MIB = 4 * 1024 * 1024


def test_d1_a_subscription_counts_even_with_a_stale_nonce():
    client = Delta(resource(RULE, "a"), resource(RULE, "b"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    assert client.subscribe(RULE, "b", response_nonce="of another time") is None
    assert names(client.hear_one()) == ["b"]


def test_d1_each_of_several_responses_in_flight_is_answered_by_its_nonce():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE)
    first = client.hear_one()
    client.offer(resource(RULE, "a"), resource(RULE, "b"))
    second = client.hear_one()
    assert client.nack(second, "no").names == ("b",)
    assert client.ack(first).names == ("a",)
    assert list(client.stream.types[RULE].refused) == ["b"]


def test_d2_a_name_that_is_subscribed_again_is_sent_again():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    client.subscribe(RULE, "a")
    assert names(client.hear_one()) == ["a"]


def test_d2_the_star_subscribed_again_is_sent_again():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE, "*")
    client.ack(client.hear_one())
    client.subscribe(RULE, "*")
    assert names(client.hear_one()) == ["a"]


def test_d3_a_name_that_does_not_exist_is_listed_as_removed_at_once_and_once():
    client = Delta()
    client.subscribe(RULE, "nowhere")
    assert list(client.hear_one().removed_resources) == ["nowhere"]
    client.offer(resource(RULE, "other"))
    assert client.hear() == []


def test_d4_unsubscribing_needs_no_reply():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    client.unsubscribe(RULE, "a")
    assert client.hear() == []
    client.offer(resource(RULE, "a", "2"))
    assert client.hear() == []


def test_d4_under_the_wildcard_it_is_answered_with_the_resource_or_its_removal():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE, "*", "a", "nowhere")
    client.hear()
    client.unsubscribe(RULE, "a", "nowhere")
    heard = client.hear()
    assert [name for response in heard for name in names(response)] == ["a"]
    assert [name for response in heard for name in response.removed_resources] == ["nowhere"]


def test_d5_unsubscribing_from_what_was_never_subscribed_does_nothing():
    client = Delta(resource(RULE, "a"))
    client.subscribe(RULE, "a")
    client.ack(client.hear_one())
    client.unsubscribe(RULE, "phantom")
    assert client.hear() == []


def test_d6_on_reconnect_only_differences_and_removals_are_sent():
    same, old, new = resource(RULE, "same"), resource(RULE, "changed", "1"), resource(RULE, "changed", "2")
    client = Delta(same, new, resource(RULE, "added"))
    held = {"same": same.version, "changed": old.version, "vanished": "1"}
    client.subscribe(RULE, initial_resource_versions=held)
    changed, removed = client.hear()
    assert names(changed) == ["added", "changed"]
    assert list(removed.removed_resources) == ["vanished"]


def test_d6_names_held_at_the_current_version_are_not_sent_although_subscribed():
    a = resource(RULE, "a")
    client = Delta(a, resource(RULE, "b"))
    client.subscribe(RULE, "a", "b", initial_resource_versions={"a": a.version})
    assert names(client.hear_one()) == ["b"]


def test_d6_a_wildcard_that_misses_nothing_gets_an_empty_answer():
    a = resource(RULE, "a")
    client = Delta(a)
    client.subscribe(RULE, initial_resource_versions={"a": a.version})
    response = client.hear_one()
    assert (names(response), list(response.removed_resources)) == ([], [])


def test_d7_every_resource_has_its_version_which_is_that_of_its_content():
    client = Delta(resource(RULE, "a", "x"), resource(RULE, "b", "x"), resource(RULE, "c", "y"))
    client.subscribe(RULE)
    versions = {item.name: item.version for item in client.hear_one().resources}
    assert versions["a"] == versions["b"] != versions["c"]


def test_d8_every_message_stays_below_4_mib():
    client = Delta(*(Resource(RULE, f"r{number}", bytes(300_000)) for number in range(40)))
    client.subscribe(RULE)
    heard = client.hear()
    assert len(heard) > 1
    assert all(response.ByteSize() < FOUR_MIB for response in heard)
    assert len({name for response in heard for name in names(response)}) == 40


def test_d8_removals_are_cut_too():
    held = {f"{'n' * 1000}{number}": "1" for number in range(5000)}
    client = Delta()
    client.subscribe(RULE, initial_resource_versions=held)
    heard = client.hear()
    assert all(response.ByteSize() < FOUR_MIB for response in heard)
    assert sum(len(response.removed_resources) for response in heard) == 5000


def test_the_wire_form_is_that_of_protobuf():
    """The frames are joined by hand; protobuf reads the same and writes the same."""
    value = message("envoy.config.cluster.v3.Cluster")(name="a").SerializeToString()
    client = Delta(Resource(CLUSTER, "a", value))
    client.subscribe(CLUSTER)
    frame = client.stream.poll()
    read = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(frame)
    assert read.resources[0].resource.type_url == CLUSTER
    assert read.resources[0].resource.value == value
    assert sorted(read.SerializeToString()) == sorted(frame)


def test_equal_clients_share_what_they_hold():
    """5,000 sidecars with 1,000 resources each must not be five million entries."""
    one, other = Delta(), Delta()
    other.stream.offer(one.stream.snapshot)
    for client in (one, other):
        client.subscribe(RULE)
        client.hear()
    shared = one.stream.snapshot.types.get(RULE)
    assert shared is None
    one.offer(resource(RULE, "a"))
    other.stream.offer(one.stream.snapshot)
    one.hear(), other.hear()
    assert one.stream.types[RULE].subscription.holds is other.stream.types[RULE].subscription.holds
