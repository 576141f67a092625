"""When to dial again (C7)."""

from random import Random

# A control plane that was restarted is back within a second or two; the cap keeps 5,000 waiting sidecars at about 1,000 attempts a second.
FIRST_DELAY_S = 0.2
MAX_DELAY_S = 5.0


class Backoff:
    """Exponential, with full jitter so that sidecars that lost one control plane together do not come back together."""

    def __init__(self, random: Random | None = None):
        self._random = random or Random()
        self._ceiling = FIRST_DELAY_S

    def next_delay_s(self) -> float:
        delay = self._random.uniform(0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, MAX_DELAY_S)
        return delay

    def reset(self) -> None:
        """The server answered, so the next loss is a new one."""
        self._ceiling = FIRST_DELAY_S
