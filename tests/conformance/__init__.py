"""Real clients' own test suites, directly on their server and through a sidecar: what differs, and why.

`main` is the command line, `fetch` gets a suite, `run` runs it on both sides, `junit` and `compare` read and judge, `report` prints. The
folder of an engine has its servers (`stage`), its suites, and the differences that are accepted (`expected.toml`).
"""
