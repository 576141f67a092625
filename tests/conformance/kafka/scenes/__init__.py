"""The scenes, in the order in which they are played: some look at what an earlier one has left."""

from __future__ import annotations

from ..scene import Scene
from . import aio, kafka_python, rd, streams, tools

SCENES: dict[str, Scene] = dict([*aio.scenes(), *kafka_python.scenes(), *rd.scenes(), *tools.scenes(), *streams.scenes()])
