"""Ordinary clients of other languages and parsers: each prints what it sees, on one server and through a sidecar, and both must be equal."""
