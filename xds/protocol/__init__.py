"""xDS v3 as pure state machines: requests and snapshots in, responses and verdicts out. No gRPC, no asyncio, no clock.

Obligations are cited by the names of the field's list: S server, W state of the world, D delta, C client.
"""
