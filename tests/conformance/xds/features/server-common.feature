Feature: What a server owes its clients in both variants
  Tags name the rules of the protocol. A scenario without @sotw or @delta is played in both.
  "gets" reads the next response; "takes" reads and acknowledges it. A resource is written as name or name=content; content 1 is the default.

  @S1
  Scenario Outline: each type has a service of its own beside the aggregated one
    Given the server has <type> a
    When the client connects to the service of <type>
    And the client asks for <type> a
    Then the client gets <type> a

    Examples:
      | type      |
      | cluster   |
      | endpoints |
      | listener  |
      | route     |
      | secret    |
      | runtime   |
      | extension |

  @S1 @delta
  Scenario: virtual hosts have a service in the delta variant alone
    Given the server has virtual-host a
    When the client connects to the service of virtual-host
    And the client asks for virtual-host a
    Then the client gets virtual-host a

  @S1
  Scenario: on a service of one type the type may be left out
    Given the server has cluster a
    When the client connects to the service of cluster
    And the client asks for cluster a without naming the type
    Then the client gets cluster a

  @S1
  Scenario: a service of one type refuses other types
    When the client connects to the service of cluster
    And the client asks for listener a
    Then the stream ends with INVALID_ARGUMENT and "this service carries"

  @S1
  Scenario: types on an aggregated stream do not know of each other
    Given the server has cluster a, listener l
    When the client asks for all cluster
    And the client gets cluster a
    And the client asks for all listener
    Then the client gets listener l
    When the client refuses listener because "no"
    And the client acknowledges cluster
    Then the server knows that listener l is NACKED because "no"
    And the server knows that cluster a is ACKED

  @S2
  Scenario: only the first request names the node
    Given the server has cluster a, listener l
    When the client asks for all cluster
    And the client takes cluster a
    And the client asks for all listener
    And the client takes listener l
    Then the server knows that cluster a is ACKED
    And the server knows that listener l is ACKED

  @S3
  Scenario: a nonce means nothing on another stream
    Given the server has cluster a
    When the client asks for all cluster
    And the client gets cluster a
    And the client connects again
    And the client refuses the response of the earlier stream because "late"
    Then the client gets cluster a
    And the server knows that cluster a is SENT

  @S4
  Scenario: error_detail makes a NACK, whatever the version
    Given the server has rule a
    When the client asks for all rule
    And the client gets rule a
    And the client refuses rule because "bad"
    Then the server knows that rule a is NACKED because "bad"
    When the server publishes rule a=2
    And the client takes rule a=2
    Then the server knows that rule a is ACKED

  @S4 @sotw
  Scenario: an acknowledgement with an older version is none the less one
    Given the server has rule a
    When the client asks for all rule
    And the client gets rule a
    And the client acknowledges rule with version "of long ago"
    Then the server knows that rule a is ACKED
    And the client gets nothing

  @S5
  Scenario: nothing unchanged is sent again, and an ACK is not answered
    Given the server has rule a, rule b
    When the client asks for rule a, b
    And the client takes rule a, b
    Then the client gets nothing
    When the server publishes rule a, rule b=2
    Then the client gets rule b=2

  @S5
  Scenario: a NACK does not bring the same again
    Given the server has rule a
    When the client asks for all rule
    And the client gets rule a
    And the client refuses rule because "no"
    Then the client gets nothing

  @S5
  Scenario: the latest of several changes is what a client gets
    Given the server has rule a
    When the client asks for rule a
    And the client takes rule a
    And the server publishes rule a=2 and at once rule a=3
    Then the client takes rule a=3
    And the client gets nothing

  @S6
  Scenario: a name that does not exist is remembered
    Given the server has endpoints other
    When the client asks for endpoints later
    Then the client is told that endpoints later does not exist
    When the server publishes endpoints other
    Then the client gets nothing
    When the server publishes endpoints other, endpoints later
    Then the client gets endpoints later

  @S6
  Scenario: what was removed and comes back is sent again
    Given the server has endpoints a
    When the client asks for endpoints a
    And the client takes endpoints a
    And the server publishes endpoints b
    And the client learns what is gone
    And the server publishes endpoints a, endpoints b
    Then the client gets endpoints a

  @S7
  Scenario: asked for in three ways, a resource comes once
    Given the server has rule a, rule b
    When the client asks for rule *, a, a
    Then the client takes rule a, b
    And the client gets nothing

  @S8
  Scenario Outline: the wildcard is no name at first, or the star
    Given the server has <type> a, <type> b
    When the client asks for all <type>
    Then the client takes <type> a, b
    When the client connects again
    And the client asks for <type> *
    Then the client gets <type> a, b

    Examples:
      | type     |
      | cluster  |
      | listener |
      | rule     |

  @S8
  Scenario: after a name an empty list is no wildcard but the end of the subscription
    Given the server has rule a, rule b
    When the client asks for rule a
    And the client takes rule a
    And the client no longer asks for rule a
    And the server publishes rule a=2, rule b=2
    Then the client gets nothing

  @S8
  Scenario: the star beside a name stays when the name goes
    Given the server has rule a, rule b
    When the client asks for rule *, a
    And the client takes rule a, b
    And the client no longer asks for rule a
    And the client learns what is still there
    And the server publishes rule a=2, rule b=2
    Then the client gets rule a=2, b=2

  @S8
  Scenario: a name beside the star stays when the star goes
    Given the server has rule a, rule b
    When the client asks for rule *, a
    And the client takes rule a, b
    And the client no longer asks for rule *
    And the server publishes rule a=2, rule b=2
    Then the client takes rule a=2
    And the client gets nothing

  @S9
  Scenario: endpoints are answered again after their cluster has changed
    Given the server has cluster a, endpoints a, endpoints b
    When the client asks for all cluster
    And the client takes cluster a
    And the client asks for endpoints a, b
    And the client takes endpoints a, b
    And the server publishes cluster a=2, endpoints a, endpoints b
    Then the client takes cluster a=2
    And the client takes endpoints a
    And the client gets nothing

  @S9
  Scenario: routes are answered again after their listener has changed
    Given the server has listener l, route l
    When the client asks for all listener
    And the client takes listener l
    And the client asks for route l
    And the client takes route l
    And the server publishes listener l=2, route l
    Then the client takes listener l=2
    And the client takes route l

  @S10
  Scenario: what is referred to comes first, whatever the order of asking
    When the client has all of virtual-host, route, listener, rule, endpoints, cluster, secret
    And the server publishes route x, listener x, rule x, cluster x, endpoints x, secret x
    Then the client takes secret x
    And the client takes cluster x
    And the client takes endpoints x
    And the client takes rule x
    And the client takes listener x
    And the client takes route x

  @S10 @delta
  Scenario: removals come last, in the opposite order
    Given the server has cluster old, endpoints old, listener old, route old
    When the client has all of cluster, endpoints, listener, route
    And the server publishes cluster new, endpoints new, listener new, route new
    Then the client takes cluster new
    And the client takes endpoints new
    And the client takes listener new
    And the client takes route new
    And the client is told that route old is gone
    And the client is told that listener old is gone
    And the client is told that endpoints old is gone
    And the client is told that cluster old is gone

  @S10 @sotw
  Scenario: a cluster is left out only after its listener has changed
    Given the server has cluster old, listener l
    When the client has all of cluster, listener
    And the server publishes cluster new, listener l=2
    Then the client takes cluster new, old
    And the client takes listener l=2
    And the client takes cluster new

  @S10
  Scenario: a listener waits until the endpoints of its new cluster were asked for
    Given the server has cluster a, endpoints a, listener l
    When the client asks for all cluster
    And the client takes cluster a
    And the client asks for endpoints a
    And the client takes endpoints a
    And the client asks for all listener
    And the client takes listener l
    And the server publishes cluster a, cluster b, endpoints a, endpoints b, listener l=2
    Then the client takes one cluster response with b
    And the client gets nothing
    When the client also asks for endpoints b
    Then the client takes endpoints b
    And the client takes listener l=2

  @S10
  Scenario: a client that refuses the cluster, or never asks for its endpoints, is not kept waiting
    Given a server that waits for 0.1 s at most
    And the server has cluster a, endpoints a, listener l
    When the client asks for all cluster
    And the client takes cluster a
    And the client asks for endpoints a
    And the client takes endpoints a
    And the client asks for all listener
    And the client takes listener l
    And the server publishes cluster a, cluster b, endpoints a, endpoints b, listener l=2
    And the client gets one cluster response with b
    And the client refuses cluster because "no"
    Then the client takes listener l=2
    When the server publishes cluster a, cluster b, cluster c, endpoints a, endpoints b, endpoints c, listener l=3
    Then the client takes one cluster response with c
    And the client takes listener l=3

  @S11
  Scenario: a TTL goes to clients that know it, with heartbeats that carry no content
    Given a client with the features xds.config.supports-resource-ttl, xds.config.supports-resource-in-sotw
    And the server has rule a for 0.5 s
    When the client asks for rule a
    Then the client gets rule a with a TTL of 0.5 s
    And the client gets a heartbeat of rule a
    And the client gets a heartbeat of rule a

  @S11
  Scenario: other clients get the resource without
    Given the server has rule a for 0.5 s
    When the client asks for rule a
    Then the client takes rule a without a TTL
    And the client gets nothing

  @S11 @sotw
  Scenario: a client that cannot unwrap resources gets no TTL
    Given a client with the features xds.config.supports-resource-ttl
    And the server has rule a for 0.5 s
    When the client asks for rule a
    Then the client takes rule a without a TTL

  @S11 @sotw
  Scenario: the spelling of gRPC is understood, too
    Given a client with the features xds.config.supports-resource-ttl, xds.config.resource-in-sotw
    And the server has rule a for 30 s
    When the client asks for rule a
    Then the client gets rule a with a TTL of 30 s

  @S11
  Scenario: a TTL is dropped by the resource without it
    Given a client with the features xds.config.supports-resource-ttl, xds.config.supports-resource-in-sotw
    And the server has rule a for 30 s
    When the client asks for rule a
    And the client takes rule a with a TTL of 30 s
    And the server publishes rule a
    Then the client takes rule a without a TTL
    And the client gets nothing

  @S11 @sotw
  Scenario: listeners are renewed as a whole, since what is left out is deleted
    Given a client with the features xds.config.supports-resource-ttl, xds.config.supports-resource-in-sotw
    And the server has listener l for 0.5 s
    When the client asks for all listener
    Then the client gets listener l with a TTL of 0.5 s
    And the client gets listener l with a TTL of 0.5 s
