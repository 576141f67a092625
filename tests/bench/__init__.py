"""The benchmark: a ladder for each family, with the peer a user would pick beside it (`make bench`).

The figure is the CPU time of the proxy's process per operation: it repeats on a shared machine, throughput does not. All rungs of a workload
run in every round, in an order of its own, and ratios are taken within a round: only figures of one interleaved run compare.

    direct   no proxy                                     what the load generator and the server can do
    relay    a listener of protocol tcp                   the engine alone: reads, writes, wake-ups
    parse    the protocol, one server                     + messages, sessions, pool
    route    the protocol, several servers                + slots or shards
    chain    the same with an access policy and a limit   + filters
"""
