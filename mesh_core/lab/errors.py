"""What goes wrong in the lab, in words: which server, what was awaited, what its log said last."""

from __future__ import annotations


class LabError(RuntimeError):
    """A server did not do what was asked of it. The message ends with the tail of its log."""


class Missing(LabError):
    """A server can't be started here because a package is not installed; `package` says which to install."""

    def __init__(self, package: str, why: str) -> None:
        super().__init__(f"{package}: {why}")
        self.package = package
