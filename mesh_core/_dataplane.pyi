"""The native data plane: the whole boundary between the half that decides and the half that moves bytes."""

from typing import final

__all__ = ["Dataplane", "Refusal", "Upcall", "validate"]

_Resource = tuple[str, str, str, bytes]
"""type URL, name, version, message bytes."""

@final
class Refusal:
    """A resource that is not taken."""

    @property
    def type_url(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def field(self) -> str:
        """Path of the field in the resource; empty for the resource as a whole."""

    @property
    def reason(self) -> str:
        """A sentence: what is wrong and what to do."""

@final
class Upcall:
    """A question of a parked session."""

    @property
    def topic(self) -> str: ...
    @property
    def body(self) -> bytes: ...

@final
class Dataplane:
    """The engine with its workers. All methods are safe from any thread and release the GIL while they wait."""

    def __new__(cls, workers: int) -> Dataplane:
        """Starts ``workers`` (at least 1) event loops; nothing listens yet.

        Raises OSError when threads or pollers cannot be made.
        """

    def apply(self, resources: list[_Resource]) -> list[Refusal]:
        """Puts the whole set in force, less what is refused: each refused resource keeps its last good version, where it has one."""

    def in_force(self) -> list[_Resource]:
        """What is in force now."""

    def refresh(self) -> list[Refusal]:
        """Reads the secrets of what is in force again. Where one cannot be read or used, all stays as it was."""

    def listening(self) -> list[tuple[str, str]]:
        """Listener name and address of every bound listener's own socket."""

    def metrics(self) -> str:
        """Prometheus text, summed over the workers."""

    def upcall_fd(self) -> int:
        """A descriptor that is readable while upcalls wait."""

    def take_upcalls(self) -> list[Upcall]:
        """The waiting upcalls, oldest first; empties the descriptor."""

    def answer(self, upcall: Upcall, body: bytes | None) -> bool:
        """Resumes the session that asked; ``None``: no answer can be had, it gets an error. False: the worker's mailbox is full."""

    def take_log(self) -> list[str]:
        """Access log lines (JSON) of taps since the last call."""

    def drain(self, seconds: float) -> bool:
        """Stops listening, lets sessions finish, closes the rest at the deadline. True when none had to be cut."""

def validate(resources: list[_Resource]) -> list[Refusal]:
    """The same checks as :meth:`Dataplane.apply`, without secrets, sockets and effect."""
