Feature: What a server owes its clients in the delta variant

  @D1 @delta
  Scenario: a change of the subscription counts whatever its nonce
    Given the server has rule a, rule b
    When the client asks for rule a
    And the client takes rule a
    And the client also asks for rule b with the nonce "of another time"
    Then the client gets rule b

  @D1 @delta
  Scenario: several responses in flight are answered one by one
    Given the server has rule a
    When the client asks for all rule
    And the client gets rule a
    And the server publishes rule a, rule b
    And the client gets rule b
    And the client refuses rule because "no"
    And the client acknowledges the response before
    Then the server knows that rule a is ACKED
    And the server knows that rule b is NACKED because "no"

  @D2 @delta
  Scenario Outline: what is subscribed again is sent again
    Given the server has rule a
    When the client asks for rule <name>
    And the client takes rule a
    And the client asks for rule <name>
    Then the client gets rule a

    Examples:
      | name |
      | a    |
      | *    |

  @D3 @delta
  Scenario: what does not exist is listed as removed, at once and once
    When the client asks for rule nowhere
    Then the client is told that rule nowhere is gone
    When the server publishes rule other
    Then the client gets nothing

  @D4 @delta
  Scenario: unsubscribing is not answered
    Given the server has rule a
    When the client asks for rule a
    And the client takes rule a
    And the client no longer asks for rule a
    Then the client gets nothing

  @D4 @delta
  Scenario: under the wildcard it is, with the resource or its absence
    Given the server has rule a
    When the client asks for rule *, a, nowhere
    And the client learns what is gone
    And the client no longer asks for rule a
    Then the client takes rule a
    When the client no longer asks for rule nowhere
    Then the client is told that rule nowhere is gone

  @D5 @delta
  Scenario: unsubscribing from what was never subscribed does nothing
    Given the server has rule a
    When the client asks for rule a
    And the client takes rule a
    And the client no longer asks for rule phantom
    Then the client gets nothing
    When the server publishes rule a=2
    Then the client gets rule a=2

  @D6 @delta
  Scenario: on reconnect come the differences, and the removal of what vanished meanwhile
    Given the server has rule same, rule changed, rule vanished
    When the client asks for all rule
    And the client takes rule changed, same, vanished
    And the client is cut off
    And the server publishes rule same, rule changed=2, rule new
    And the client connects again
    And the client asks for all rule, holding what it has
    Then the client takes rule changed=2, new
    And the client is told that rule vanished is gone

  @D6 @delta
  Scenario: a name that vanished is told once, whether asked for or held
    Given the server has rule a, rule b
    When the client asks for rule a, b
    And the client takes rule a, b
    And the client is cut off
    And the server publishes rule b
    And the client connects again
    And the client asks for rule a, b, holding what it has
    Then the client is told that rule a is gone
    And the client gets nothing

  @D6 @delta
  Scenario: whoever misses nothing is told so
    Given the server has rule a
    When the client asks for all rule
    And the client takes rule a
    And the client connects again
    And the client asks for all rule, holding what it has
    Then the client takes no rule at all

  @D7 @delta
  Scenario: each resource has a version of its own, which stays while its content stays
    Given the server has rule a=x, rule b=x, rule c=y
    When the client asks for all rule
    Then the client gets rule a=x, b=x, c=y
    When the server publishes rule a=x, rule b=x, rule c=z
    Then the client gets rule c=z
    And only the version of c has changed

  @D8 @delta
  Scenario: 12 MB of rules come in messages below 4 MiB
    Given the server has 40 rules of 300000 bytes
    When the client asks for all rule
    Then the client gets 40 rules in several messages, each below 4 MiB

  @D8 @delta
  Scenario: a client that returns may list more than 4 MiB of names
    Given the server has rule a
    When the client asks for all rule, holding 30000 others with long names
    Then the client gets rule a
    And the client is told of 30000 removals in messages below 4 MiB

  @D9
  Scenario: equivalent xdstp names are one
    Given the server has rule xdstp://mesh/RateLimit/a?x=1&y=2
    When the client asks for rule xdstp://mesh/RateLimit/a?y=2&x=1#alt=xdstp://other/RateLimit/a
    Then the client gets rule xdstp://mesh/RateLimit/a?x=1&y=2

  @D9 @delta
  Scenario: a glob collection is what lies directly under its path, in its context
    Given the server has rule xdstp://mesh/RateLimit/shop/a, rule xdstp://mesh/RateLimit/shop/b?x=1, rule xdstp://mesh/RateLimit/shop/deep/c, rule d
    When the client asks for rule xdstp://mesh/RateLimit/shop/*
    Then the client takes rule xdstp://mesh/RateLimit/shop/a
    When the server publishes rule xdstp://mesh/RateLimit/shop/a, rule xdstp://mesh/RateLimit/shop/e, rule d=2
    Then the client takes rule xdstp://mesh/RateLimit/shop/e
    When the server publishes rule xdstp://mesh/RateLimit/shop/e
    Then the client is told that rule xdstp://mesh/RateLimit/shop/a is gone
    And the client gets nothing
    When the client no longer asks for rule xdstp://mesh/RateLimit/shop/*
    And the server publishes rule xdstp://mesh/RateLimit/shop/e=2
    Then the client gets nothing

  @D9 @delta
  Scenario: the context of a glob chooses among variants
    Given the server has rule xdstp://mesh/RateLimit/shop/a?zone=1, rule xdstp://mesh/RateLimit/shop/a?zone=2
    When the client asks for rule xdstp://mesh/RateLimit/shop/*?zone=2
    Then the client gets rule xdstp://mesh/RateLimit/shop/a?zone=2

  @D9 @D3 @delta
  Scenario: an empty collection is told as absent, and filled when it is no longer
    When the client asks for rule xdstp://mesh/RateLimit/shop/*
    Then the client is told that rule xdstp://mesh/RateLimit/shop/* is gone
    When the server publishes rule xdstp://mesh/RateLimit/shop/a
    Then the client gets rule xdstp://mesh/RateLimit/shop/a

  @D10
  Scenario: a resource that may not be given is refused by name, the others come
    Given the server has rule a, but refuses rule b with PERMISSION_DENIED "not for this node"
    When the client asks for rule a, b
    Then the client gets rule a
    And the client is told PERMISSION_DENIED "not for this node" of rule b
    And the client gets nothing

  @D10
  Scenario: what is withheld for a while stays with those who have it
    Given the server has rule a
    When the client asks for rule a
    And the client takes rule a
    And the server publishes nothing, but refuses rule a with UNAVAILABLE "refused by other sidecars"
    Then the client is told UNAVAILABLE "refused by other sidecars" of rule a
    And the client gets nothing
    When the server publishes rule a=2
    Then the client gets rule a=2

  @D10 @sotw
  Scenario: withheld listeners stay in the complete set
    Given the server has listener a, listener b
    When the client asks for all listener
    And the client takes listener a, b
    And the server publishes listener b=2, but refuses listener a with UNAVAILABLE "refused by other sidecars"
    Then the client gets listener a, b=2
    And the client gets nothing

  @D10 @sotw
  Scenario: a name that does not exist is an error of its own, since absence says nothing
    When the client asks for endpoints nowhere
    Then the client is told NOT_FOUND "there is no such resource" of endpoints nowhere
    And the client gets nothing

  @D10
  Scenario: a locator is a name, too
    Given the server has rule a, rule b
    When the client asks for rule a by a locator
    Then the client gets rule a
