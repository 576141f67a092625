Feature: What a server owes its clients in the state of the world

  @W1 @sotw
  Scenario Outline: clusters and listeners come complete, and absence deletes
    Given the server has <type> a, <type> b
    When the client asks for all <type>
    And the client takes <type> a, b
    And the server publishes <type> a=2, <type> b
    Then the client takes <type> a=2, b
    When the server publishes <type> b
    Then the client takes <type> b
    When the server publishes nothing
    Then the client takes no <type> at all

    Examples:
      | type     |
      | cluster  |
      | listener |

  @W1 @sotw
  Scenario: the complete set is that of the names asked for
    Given the server has listener a, listener b, listener c
    When the client asks for listener a, b
    And the client takes listener a, b
    And the server publishes listener a, listener b=2, listener c=2
    Then the client takes listener a, b=2
    And the client gets nothing

  @W1 @sotw
  Scenario: other types may come in part, and absence means nothing
    Given the server has endpoints a, endpoints b
    When the client asks for endpoints a, b
    And the client takes endpoints a, b
    And the server publishes endpoints a=2, endpoints b
    Then the client takes endpoints a=2
    When the server publishes endpoints b
    Then the client gets nothing

  @W2 @sotw
  Scenario: the names of a request with a stale nonce are dropped
    Given the server has endpoints a, endpoints b
    When the client asks for endpoints a
    And the client gets endpoints a
    And the server publishes endpoints a=2, endpoints b
    And the client gets endpoints a=2
    And the client acknowledges the response before, asking for endpoints a, b
    Then the client gets nothing
    When the client also asks for endpoints b
    Then the client gets endpoints b

  @W3 @sotw
  Scenario: a name that is asked for again is sent again
    Given the server has endpoints a, endpoints b
    When the client asks for endpoints a, b
    And the client takes endpoints a, b
    And the client no longer asks for endpoints a
    Then the client gets nothing
    When the client also asks for endpoints a
    Then the client gets endpoints a

  @W4 @sotw
  Scenario: a wildcard that comes back with the current version is not sent again
    Given the server has cluster a
    When the client asks for all cluster
    And the client takes cluster a
    And the client connects again
    And the client asks for all cluster as of its last version
    Then the client gets nothing
    When the server publishes cluster a=2
    Then the client gets cluster a=2

  @W4 @sotw
  Scenario: names that come back with the current version are sent, for they may have grown
    Given the server has endpoints a, endpoints b
    When the client asks for endpoints a
    And the client takes endpoints a
    And the client connects again
    And the client asks for endpoints a, b as of its last version
    Then the client gets endpoints a, b
