Feature: What our client does, driven by a server that is not ours
  The variant is the one the server knows: in @sotw it has no delta, and the client finds that out by itself.
  "gives" sends a response; the client applies what it got, answers, and the server hears that answer.

  @C1
  Scenario: every response is answered with its nonce
    Given a client of rule
    When the server gives rule a with the nonce "n-17"
    Then the server hears an ACK of "n-17"
    When the server gives rule b with the nonce "n-18"
    Then the server hears an ACK of "n-18"

  @C2
  Scenario: what is held survives refusals and the loss of the stream
    Given a client of rule
    And the server gives rule a
    And the server hears an ACK
    When the client refuses rule a because "out of range"
    And the server gives rule a=2
    And the server hears a NACK
    And the server breaks the stream
    Then the client has rule a

  @C3 @sotw
  Scenario: a NACK carries the version before
    Given a client of rule
    And the server gives rule a as version 1
    And the server hears an ACK with version 1
    When the client refuses rule a because "out of range"
    And the server gives rule a=2 as version 2
    Then the server hears a NACK with version 1

  @C3 @delta
  Scenario: a NACK carries nonce and error, no names
    Given a client of rule
    And the server gives rule a
    And the server hears an ACK
    When the client refuses rule a because "out of range"
    And the server gives rule a=2 with the nonce "n-2"
    Then the server hears a NACK of "n-2" that asks for nothing

  @C4
  Scenario: a name that nobody answers does not exist after a while
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 0.3 s
    When the server gives cluster a, cluster b
    And the server hears that endpoints a, b are wanted
    And the server gives endpoints a
    And the server gives listener l
    Then the client has cluster a, cluster b, endpoints a, listener l
    And the client reports endpoints b as DOES_NOT_EXIST

  @C4 @delta
  Scenario: a name that is said not to exist is not waited for
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 60 s
    When the server gives cluster a
    And the server hears that endpoints a are wanted
    And the server takes endpoints a away
    And the server gives listener l
    Then the client has cluster a, listener l
    And the client reports endpoints a as DOES_NOT_EXIST

  @C4 @D10
  Scenario Outline: an error of the resource ends the waiting, too, whether it may pass or not
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 60 s
    When the server gives cluster a
    And the server hears that endpoints a are wanted
    And the server says <status> "not for you" of endpoints a
    And the server gives listener l
    Then the client has cluster a, listener l
    And the client reports endpoints a as RECEIVED_ERROR

    Examples:
      | status            |
      | PERMISSION_DENIED |
      | UNAVAILABLE       |

  @C4
  Scenario: a type that the server does not know is not waited for
    Given a client of cluster, rule, listener with 0.3 s of patience
    When the server gives cluster a
    And the server gives listener l
    Then the client has cluster a, listener l

  @C5
  Scenario: what was not asked for is acknowledged and not used
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 60 s
    When the server gives cluster a
    And the server hears that endpoints a are wanted
    And the server gives endpoints a, endpoints b
    And the server gives listener l
    Then the client has cluster a, endpoints a, listener l

  @C5
  Scenario: a name twice in one response is refused
    Given a client of rule
    And the server gives rule a
    And the server hears an ACK
    When the server gives rule b, rule b=2
    Then the server hears a NACK because "twice"
    And the client has rule a

  @C6
  Scenario: the good are taken beside the bad, and each bad one is named
    Given a client of rule
    And the server gives rule a, rule b, rule c
    And the server hears an ACK
    When the client refuses rule a because "first"
    And the client refuses rule c because "third"
    And the server gives rule a=2, rule b=2, rule c=2
    Then the server hears a NACK because "a at spec: first"
    And the last NACK says "c at spec: third"
    And the client has rule a, rule b=2, rule c

  @C7 @delta
  Scenario: on reconnect it says what it holds, and not what it refused
    Given a client of rule
    And the server gives rule a, rule b
    And the server hears an ACK
    When the client refuses rule c because "no"
    And the server gives rule c
    And the server hears a NACK
    And the server breaks the stream
    Then the server hears that the client holds rule a, b

  @C7 @sotw
  Scenario: on reconnect it says the last version, and no nonce
    Given a client of rule
    And the server gives rule a as version 7
    And the server hears an ACK with version 7
    When the server breaks the stream
    Then the server hears a first request of rule with version 7 and no nonce

  @C7 @sotw
  Scenario: a server that has nothing newer need not answer
    Given a client of cluster, rule
    And the server gives cluster a as version 7
    And the server gives rule r as version 7
    And the server hears an ACK with version 7
    And the server hears an ACK with version 7
    When the server breaks the stream
    And the server gives rule r=2 as version 8
    Then the client has cluster a, rule r=2

  @C8
  Scenario: clusters first, then their endpoints, then listeners; and no endpoints but those
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 60 s
    Then the server has heard of cluster only
    When the server gives cluster a, cluster b
    Then the server hears that endpoints a, b are wanted
    And the server has heard of cluster, endpoints only
    When the server gives endpoints a, endpoints b
    Then the server hears a first request of listener

  @C8
  Scenario: names that nothing refers to any longer are given up
    Given a client of cluster, listener that asks for the endpoints of its clusters, for 60 s
    And the server gives cluster a, cluster b
    And the server hears that endpoints a, b are wanted
    And the server gives endpoints a, endpoints b
    And the server gives listener l
    And the client has cluster a, cluster b, endpoints a, endpoints b, listener l
    When the server gives only cluster b of a, b
    Then the server hears that endpoints b are wanted
    And the client has cluster b, endpoints b, listener l

  @C9
  Scenario: what is not renewed is dropped, with the stream or without
    Given a client of rule
    And the server gives rule a for 0.5 s, rule b
    And the server hears an ACK
    When the server goes away
    Then the client has rule b

  @C9
  Scenario: heartbeats keep it
    Given a client of rule
    And the server gives rule a for 20 s
    And the server hears an ACK
    When the server renews rule a for 60 s
    And the server hears an ACK
    Then the client has rule a
    And the client keeps rule a for 30 s and more

  @C10
  Scenario: the next server is used while the first is away, and left when it is back
    Given a second server
    And the first server is away
    And a client of rule
    When the second server gives rule a
    Then the client has rule a
    And the client is connected to the second server
    When the first server comes back
    Then the client is connected to the first server
    And the client has rule a

  @C11
  Scenario: it starts from what it held
    Given a client of rule that held rule a
    Then the client has rule a
    When the server gives rule b
    Then the client has rule a, rule b

  @C12
  Scenario: it reports what is in force and what it refused
    Given a client of rule
    And the server gives rule a
    And the server hears an ACK
    When the client refuses rule b because "no"
    And the server gives rule b
    And the server hears a NACK
    Then the client reports rule a as ACKED
    And the client reports rule b as NACKED

  @C12
  Scenario: it reports its load when the server wants it, of what the server wants, and its node first
    Given a client of rule that counts 7 requests to a, 9 requests to b
    And the server gives rule a
    When the server wants load reports of a
    Then the server hears of 7 requests to a
    When the server wants load reports of all
    Then the server hears of 7 requests to a, 9 requests to b
