"""How old a request is, and until when it may still be carried out.

A process that was frozen finds requests on waking that were sent long ago: in its sockets, read and waiting, or half
done. What was sent after them has been done by others meanwhile, so they are refused. Two things say how old a request
can be, and the older of the two counts:

- *This process's own clock.* It ticks in the event loop. A request that is read after a tick was not there before the
  ticks that came before, whatever froze in between; where two ticks lie far apart, the process stood still.
- *The header X-Taken-At,* in which a door writes when it took the request, on its wall clock, whatever a client sent.
  Wall clocks differ and are set, so only differences count: the request that reached this process quickest from the
  same machine, of the last seconds, counts as new, and all others are as much older as they are later than that one.
"""

import asyncio
from collections import deque
from typing import NamedTuple

from standfest.interfaces.api.asgi import Scope
from standfest.storage.deadline import Deadline, now_s

TICK_S = 0.05
TICKS_KEPT = 6
"""A connection that waited to be taken is read from a few turns of the loop later, its request begun one later."""

_BUCKET_S, _BUCKET_SAMPLES = 1.0, 4
"""A quickest request is forgotten after one to two such spans, each with a few requests: a door asks five times a
second whether the process is ready, so a door's clock that was set back makes its requests look old for two seconds."""
_MACHINES_MAX = 64
_SCOPE = "standfest.times"


class Times(NamedTuple):
    """When a request came, on the clock of deadlines."""

    arrived_s: float
    """It was not in this process or its sockets before."""
    taken_s: float
    """A door took it about then, or later; never later than `arrived_s` says where no door told."""


class Standstill:
    """Notices that this process, or its event loop, stood still, however it was stopped."""

    def __init__(self, longest_s: float) -> None:
        """`longest_s`: a loop that does not turn for longer stood still."""
        self._longest_s = longest_s
        now = now_s()
        self._ticks = deque([now] * TICKS_KEPT, maxlen=TICKS_KEPT)
        self._ended_s = now
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begins to watch the running event loop."""
        self._tick()

    def stop(self) -> None:
        """Ends the watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def arrived_s(self) -> float:
        """What is begun now was not in this process's sockets before this moment."""
        return self._ticks[0] if self._timer is not None else now_s()

    def since(self, moment_s: float) -> bool:
        """Whether the loop stood still at any time after this moment, until right now."""
        if self._timer is None:
            return False
        return self._ended_s > moment_s or now_s() - self._ticks[-1] > self._longest_s

    def _tick(self) -> None:
        now = now_s()
        if self._timer is not None and now - self._ticks[-1] > self._longest_s:
            self._ended_s = now
        self._ticks.append(now)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)


class _Way:
    """How quickly requests come from one machine: this clock at arrival less that machine's clock at departure."""

    def __init__(self, lag_s: float, now: float) -> None:
        self._before_s = self._quickest_s = lag_s
        self._since_s, self._samples = now, 1

    def age_s(self, lag_s: float, now: float) -> float:
        """How much older than the quickest a request with this lag is."""
        if now - self._since_s >= _BUCKET_S and self._samples >= _BUCKET_SAMPLES:
            self._before_s, self._quickest_s = self._quickest_s, lag_s
            self._since_s, self._samples = now, 0
        self._samples += 1
        self._quickest_s = min(self._quickest_s, lag_s)
        return lag_s - min(self._before_s, self._quickest_s)


class DoorClocks:
    """What X-Taken-At says, by the machine that it comes from."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}

    def age_s(self, machine: str, taken_at: bytes, now: float) -> float:
        """Seconds since a door took a request, at least; 0 where that cannot be known.

        Args:
            machine: the address that the request came from.
            taken_at: the header: milliseconds on that machine's wall clock.
            now: on the clock of deadlines.
        """
        if not taken_at.isdigit() or len(taken_at) > 15:
            return 0.0
        lag_s = now - int(taken_at) / 1000
        way = self._ways.get(machine)
        if way is None:
            if len(self._ways) >= _MACHINES_MAX:
                del self._ways[next(iter(self._ways))]
            way = self._ways[machine] = _Way(lag_s, now)
        return way.age_s(lag_s, now)


class Freshness:
    """When requests came, and until when they may be carried out."""

    def __init__(self, standstill_max_s: float) -> None:
        self.standstill = Standstill(standstill_max_s)
        self._clocks = DoorClocks()

    def note(self, scope: Scope, taken_at: bytes | None) -> None:
        """Notes when a request that is begun came."""
        now = now_s()
        arrived_s = taken_s = self.standstill.arrived_s
        if taken_at is not None and scope.get("client"):
            taken_s = min(taken_s, now - self._clocks.age_s(scope["client"][0], taken_at, now))
        scope[_SCOPE] = Times(arrived_s, taken_s)

    def change_deadline(self, scope: Scope, seconds: float) -> Deadline:
        """Until when a change may be sent to the database: so many seconds after a door took it, and never once this
        process has stood still since it may have arrived."""
        times: Times = scope[_SCOPE]
        return _WhileAwake(times, seconds, self.standstill)

    def order_deadline(self, scope: Scope, seconds: float) -> Deadline:
        """Until when an order may be sent: so many seconds after a door took it. Doing it twice is doing it once."""
        times: Times = scope[_SCOPE]
        return Deadline(times.taken_s + seconds)


class _WhileAwake(Deadline):
    """A deadline that has passed as well when the process stood still meanwhile."""

    __slots__ = ("_arrived_s", "_standstill")

    def __init__(self, times: Times, seconds: float, standstill: Standstill) -> None:
        super().__init__(times.taken_s + seconds)
        self._arrived_s = times.arrived_s
        self._standstill = standstill

    @property
    def remaining_s(self) -> float:
        """Seconds left; none where the process stood still."""
        return -1.0 if self._standstill.since(self._arrived_s) else super().remaining_s
