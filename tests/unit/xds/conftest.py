"""Examples have no deadline: how long one takes is the machine's matter."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
