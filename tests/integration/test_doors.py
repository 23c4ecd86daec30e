"""The doors: real HAProxy as rendered, real API processes without a database, killed, frozen, ended and reloaded.

Clients here repeat nothing, save where the partners' client is what is tested: what is not broken, the doors mended.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from standfest.clients.attempts import Acknowledged, Outcome, RetryPolicy
from standfest.clients.orders import OrdersClient
from tests.support.doors import END_TIMEOUT_S, START_TIMEOUT_S, Doors, running_doors
from tests.support.plain_client import Seen, send_open_loop
from tests.support.stand_in import ONLY_AT, REFUSAL, SLOW_BODY
from tests.support.waiting import wait_until

RATE = 100.0
FAR_TOO_LONG_S = 4.0
"""Nothing that the doors or the client mend takes so long, however busy the machine; their timeouts take longer."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Two doors and three API processes that take 100 ms for an order."""
    with running_doors(tmp_path_factory.mktemp("doors"), work_ms=100) as running:
        yield running


@pytest.fixture
def doors(processes: Doors) -> Doors:
    """The same, all of them up, and what was done so far forgotten."""
    processes.arrange()
    return processes


def send(
    doors: Doors,
    seconds: float,
    *events: tuple[float, Callable[[], object]],
    keyed: Callable[[int], bool] = lambda _: True,
    body: bytes = b"{}",
    keep_alive: bool = True,
    rate: float = RATE,
) -> Seen:
    """Sends orders through both doors in turn; each event happens at its second."""
    due = list(events)

    def at(offset_s: float) -> None:
        while due and offset_s >= due[0][0]:
            due.pop(0)[1]()

    seen = asyncio.run(
        send_open_loop(doors.addresses, rate, seconds, keyed=keyed, body=body, keep_alive=keep_alive, at=at)
    )
    assert not due
    return seen


def place(doors: Doors, seconds: float, event: tuple[float, Callable[[], object]]) -> list[Outcome]:
    """Places orders by the partners' client, open loop, in their order."""

    async def run() -> list[Outcome]:
        began = time.monotonic()
        pending = [event]
        async with OrdersClient(doors.urls, "key", policy=RetryPolicy(deadline_s=20.0), connections=512) as client:
            tasks = []
            for number in range(int(RATE * seconds)):
                offset_s = number / RATE
                await asyncio.sleep(max(0.0, began + offset_s - time.monotonic()))
                if pending and offset_s >= pending[0][0]:
                    pending.pop()[1]()
                tasks.append(asyncio.create_task(client.place({"lines": []}, f"k-{number}")))
            return await asyncio.gather(*tasks)

    return asyncio.run(run())


@pytest.mark.parametrize("door", [1, 2])
def test_haproxy_accepts_what_is_rendered(processes: Doors, door: int) -> None:
    """HAProxy reads the rendered file without an error or a warning."""
    command = ["/usr/sbin/haproxy", "-c", "-f", str(processes.configuration(door))]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@pytest.mark.parametrize("keep_alive", [True, False])
def test_doors_reloaded_under_load(doors: Doors, keep_alive: bool) -> None:
    """Twenty reloads of each door break no request and close no connection but with an answer that says so."""

    def reload() -> None:
        for name in ("door-1", "door-2"):
            doors.signal(name, signal.SIGUSR2)

    events = [(0.2 + number * 0.2, reload) for number in range(20)]
    seen = send(doors, 4.5, *events, keyed=lambda number: number % 4 > 1, keep_alive=keep_alive)
    assert seen.broken == {}
    assert seen.reopened == 0
    assert seen.told_to_close > 0


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_door_that_is_frozen_or_dead_is_left(doors: Doors, fault: signal.Signals) -> None:
    """The partners' client brings every order through the other door, though the kernel of a frozen one still
    accepts connections."""
    outcomes = place(doors, 2.5, (0.5, lambda: doors.signal("door-1", fault)))
    assert {type(outcome) for outcome in outcomes} == {Acknowledged}
    assert max(outcome.attempts for outcome in outcomes) >= 2
    assert max(outcome.elapsed_s for outcome in outcomes) < FAR_TOO_LONG_S
    late = outcomes[-int(RATE / 2) :]
    assert sum(outcome.attempts > 1 for outcome in late) <= 2


def test_the_client_and_a_frozen_api_process(doors: Doors) -> None:
    """With doors that are well a frozen API process costs no order, and does not make the client leave a door."""
    outcomes = place(doors, 2, (0.5, lambda: doors.signal("api-1", signal.SIGSTOP)))
    assert {type(outcome) for outcome in outcomes} == {Acknowledged}
    assert max(outcome.elapsed_s for outcome in outcomes) < FAR_TOO_LONG_S


def test_a_frozen_api_process_breaks_nothing(doors: Doors) -> None:
    """What a frozen process holds is taken from it and answered by another one; when it wakes it is used again."""
    seen = send(doors, 2.5, (0.5, lambda: doors.signal("api-2", signal.SIGSTOP)))
    assert seen.broken == {}
    assert seen.slowest_s < FAR_TOO_LONG_S
    assert [states[1] for states in (doors.states(1), doors.states(2))] == ["DOWN", "DOWN"]
    doors.signal("api-2", signal.SIGCONT)
    wait_until(lambda: doors.states(1)[1] == doors.states(2)[1] == "UP", "awake again", START_TIMEOUT_S)


def test_api_processes_restarted_one_after_the_other(doors: Doors) -> None:
    """SIGTERM breaks nothing and makes nothing be sent twice, with a key or without."""

    def restart(name: str) -> Callable[[], None]:
        return lambda: doors.signal(name, signal.SIGTERM)

    for name in ("api-1", "api-2", "api-3"):
        seen = send(doors, 3, (0.3, restart(name)), keyed=lambda number: number % 4 > 1)
        assert seen.broken == {}
        wait_until(lambda name=name: doors.ended(name), f"{name} ends", END_TIMEOUT_S)  # type: ignore[misc]
        assert set(doors.attempts().values()) == {1}
        doors.arrange()


def test_a_killed_api_process_breaks_nothing(doors: Doors) -> None:
    """What an API process held when it was killed is answered by another one, and so is what comes after."""
    seen = send(doors, 2, (0.5, lambda: doors.signal("api-1", signal.SIGKILL)))
    assert seen.broken == {}
    assert max(doors.attempts().values()) <= 2


@pytest.mark.parametrize("refusal", [401, 404, 412, 422, 429, 503])
def test_a_refusal_of_the_repeat_is_not_the_answer(doors: Doors, refusal: int) -> None:
    """A process may have done what it broke off, or do it still: where the one that gets the repeat refuses it, for now
    or for certain, the outcome is unknown (504)."""
    first = doors.topology.nodes[0].address
    headers = {ONLY_AT.decode(): f"{first}:{doors.topology.ports.api}", REFUSAL.decode(): str(refusal)}

    def ask(number: int) -> tuple[str, int]:
        own = {"Idempotency-Key": f"k-{number}", "X-Request-Id": f"only-at-1-{number}"}
        answer = httpx.post(f"{doors.urls[0]}/v1/orders", headers=headers | own, json={})
        return own["X-Request-Id"], answer.status_code

    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(ask, number) for number in range(30)]
        wait_until(lambda: len(doors.attempts_at(1)) > 0, "the first process works", START_TIMEOUT_S)
        doors.signal("api-1", signal.SIGKILL)
        answers = dict(each.result() for each in asked)
    begun = doors.attempts_at(1)
    assert set(answers.values()) == {refusal, 504}
    assert {answers[each] for each in begun} == {504}


def test_a_process_that_starts_gets_nothing_before_it_is_ready(doors: Doors) -> None:
    """A process that answers, but is not ready, is not taken for one that is back."""
    doors.signal("api-1", signal.SIGKILL)
    wait_until(lambda: doors.states(1)[0] == doors.states(2)[0] == "DOWN", "it is seen as gone", START_TIMEOUT_S)
    doors.start("api-1")
    with ThreadPoolExecutor() as pool:
        back = pool.submit(
            wait_until, lambda: doors.states(1)[0] == doors.states(2)[0] == "UP", "it is back", START_TIMEOUT_S
        )
        while not back.done():
            assert send(doors, 0.3).broken == {}
        back.result()
    assert send(doors, 0.3).broken == {}
    assert doors.attempts_at(1)


def test_without_a_key_nothing_is_sent_twice(doors: Doors) -> None:
    """Requests without a key that a killed process held break, no more; all others go where nothing was sent."""
    seen = send(doors, 2, (0.5, lambda: doors.signal("api-3", signal.SIGKILL)), keyed=lambda _: False)
    assert max(doors.attempts().values()) == 1
    assert sum(seen.broken.values()) < 20
    assert doors.attempts().total() - sum(seen.broken.values()) >= seen.statuses[201]


def test_a_process_short_of_descriptors_sheds(doors: Doors) -> None:
    """Where connections have taken all descriptors but the reserved ones, what comes over further ones is answered
    429, what comes over the others is done, and the process stays in rotation."""
    with doors.crowded(spare=4):
        seen = send(doors, 1.5, rate=200, keyed=lambda number: number % 2 == 0)
        assert set(seen.statuses) == {201, 429}
        assert doors.states(1) == doors.states(2) == ["UP"] * 3


def test_what_is_too_much_is_refused_before_it_is_attempted(doors: Doors) -> None:
    """While all places are taken, a door keeps a number of orders for a second, of one client less where others could
    need the room, and refuses more at once; what it refused, then or later, was never begun. Browsing gives way."""

    async def flood() -> tuple[Seen, Seen, int, str]:
        door = doors.addresses[:1]
        many = asyncio.create_task(send_open_loop(door, 4_000, 0.1, client="hasty", prefix="hasty", body=SLOW_BODY))
        await asyncio.to_thread(wait_until, lambda: doors.queued(1) >= 32, "the queue is half full", START_TIMEOUT_S)
        few = asyncio.create_task(send_open_loop(door, 200, 0.1, client="modest", prefix="modest"))
        async with httpx.AsyncClient() as client:
            browsing = await client.get(f"{doors.urls[0]}/v1/orders")
        return await many, await few, browsing.status_code, browsing.headers["Retry-After"]

    hasty, modest, *browsing = asyncio.run(flood())
    assert set(hasty.statuses) == {201, 429}
    assert hasty.statuses[201] >= 128
    assert all(status == 201 or took_s > 0.9 for _, took_s, status in modest.times_s)
    assert browsing == [429, "1"]
    assert set(modest.statuses) <= {201, 429}
    assert doors.attempts().total() == hasty.statuses[201] + modest.statuses[201]


def test_what_is_larger_than_a_buffer_is_not_sent_twice(doors: Doors) -> None:
    """A request that a door cannot keep breaks with its process, for the client to repeat, and a smaller one does
    not."""
    kill = (0.4, lambda: doors.signal("api-1", signal.SIGKILL))
    kept = send(doors, 0.8, kill, body=b"x" * 60_000)
    assert kept.broken == {}
    for _ in range(10):  # whether one is under way when its process is killed is chance
        doors.arrange()
        if (lost := send(doors, 0.8, kill, body=b"x" * 70_000)).broken:
            break
    assert lost.broken
    assert set(lost.broken) <= {502, "Broken"}
    assert max(doors.attempts().values()) == 1


def test_late_is_not_dead(doors: Doors) -> None:
    """Where all API processes are too late for the doors' checks, each request is done by one of them; once they are in
    time they are in rotation again."""
    for name in ("api-1", "api-2", "api-3"):
        doors.signal(name, signal.SIGUSR1)
    try:
        wait_until(lambda: doors.states(1) == doors.states(2) == ["DOWN"] * 3, "all are late", START_TIMEOUT_S)
        seen = send(doors, 2, rate=30)
        assert doors.states(1) == doors.states(2) == ["DOWN"] * 3
        assert doors.states(1, "alive") == doors.states(2, "alive") == ["UP"] * 3
    finally:
        for name in ("api-1", "api-2", "api-3"):
            doors.signal(name, signal.SIGUSR2)
    assert set(seen.statuses) == {201}
    assert all(doors.attempts_at(number) for number in (1, 2, 3))
    wait_until(lambda: doors.states(1) == doors.states(2) == ["UP"] * 3, "in time again", START_TIMEOUT_S)


def test_nobody_is_said_to_be_there_only_where_nothing_was_sent(doors: Doors) -> None:
    """With all API processes gone what was sent has an unknown outcome (never 503), what comes later was not
    attempted (503 with Retry-After)."""

    def kill() -> None:
        for name in ("api-1", "api-2", "api-3"):
            doors.signal(name, signal.SIGKILL)

    seen = send(doors, 0.5, (0.48, kill))
    assert seen.broken
    assert set(seen.broken) <= {502, 504, "Broken"}
    wait_until(lambda: doors.states(1, "alive") == ["DOWN"] * 3, "all are dead", START_TIMEOUT_S)
    nobody = httpx.post(f"{doors.urls[0]}/v1/orders", headers={"Idempotency-Key": "k"})
    assert (nobody.status_code, nobody.headers["Retry-After"]) == (503, "1")
    assert nobody.json()["type"].endswith("/unavailable")
