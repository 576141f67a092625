"""The rules of the house that a machine can check. Each failure says the rule's reason; exceptions stand here with theirs."""
