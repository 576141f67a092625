"""`midstream demo`: a small shop on real servers, a control plane that changes its rules under traffic, and what breaks.

lab servers ── sidecar ── shop            stage.py   servers and Midstream's own programs (programs.py)
                 │                        shop/      the application: asyncpg, redis-py, aiokafka
           control plane                  scenes/    what is done to it, and what was promised
                                          ledger.py  what the application's clients saw
                                          show.py    the live table and the summary
                                          run.py     the director
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class KafkaChoice(StrEnum):
    AUTO = "auto"
    REAL = "real"
    MOCK = "mock"


def demo(
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards, and say where.")] = False,
    shards: Annotated[int, typer.Option(min=2, max=8, help="PostgreSQL servers.")] = 3,
    kafka: Annotated[KafkaChoice, typer.Option(help="Brokers: auto takes a real Kafka when there is Java.")] = KafkaChoice.AUTO,
) -> None:
    """Starts real servers, a control plane, a sidecar and a shop, and changes the rules under traffic. Needs the extra `demo`."""
    try:
        from .run import play
    except ImportError as missing:
        typer.echo(f"midstream demo needs {missing.name}; install the extra: pip install 'midstream[demo]'", err=True)
        raise typer.Exit(2) from missing
    raise typer.Exit(play(keep=keep, shards=shards, kafka=kafka.value))
