"""S10: make before break, in both variants."""

from tests.unit.xds.peer import CLUSTER, ENDPOINTS, LISTENER, RULE, Delta, Sotw, contents, names, resource

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
