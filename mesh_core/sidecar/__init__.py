"""The sidecar process: the data plane, its brain, the source of its configuration, its admin address."""
