"""When a stream wants to be called although nothing has happened: heartbeats, and the end of its patience."""

from xds.protocol.stream import ServerStream


class Alarms:
    """Of one stream. Times are those of any one clock, in seconds."""

    __slots__ = ("_heartbeat_at", "_max_wait_s", "_patience_until", "_stream")

    def __init__(self, stream: ServerStream, max_wait_s: float):
        self._stream = stream
        self._max_wait_s = max_wait_s
        self._heartbeat_at: float | None = None
        self._patience_until: float | None = None

    def next(self, now: float) -> float | None:
        """When to ring at the latest; asked again after anything has happened on the stream."""
        every = self._stream.heartbeat_every_s
        if every is None:
            self._heartbeat_at = None
        elif self._heartbeat_at is None or self._heartbeat_at > now + every:
            self._heartbeat_at = now + every
        if not self._stream.waiting:
            self._patience_until = None
        elif self._patience_until is None:
            self._patience_until = now + self._max_wait_s
        return min((at for at in (self._heartbeat_at, self._patience_until) if at is not None), default=None)

    def ring(self, now: float) -> None:
        """Does what has fallen due; the stream is to be polled then."""
        if self._heartbeat_at is not None and now >= self._heartbeat_at:
            self._heartbeat_at = None
            self._stream.heartbeat()
        if self._patience_until is not None and now >= self._patience_until:
            self._patience_until = None
            self._stream.stop_waiting()
