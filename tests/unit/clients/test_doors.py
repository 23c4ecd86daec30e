"""Which door a client takes: pure decisions."""

import pytest

from standfest.clients.doors import Choice, Doors


def doors(*urls: str) -> Doors:
    """Doors that rest for two seconds, and for eight at most."""
    return Doors(urls or ["http://a/", "http://b"], rest_s=2.0, rest_max_s=8.0)


def chosen(of: Doors, now: float, count: int = 4) -> list[str]:
    """The next choices."""
    return [of.choose(now).url for _ in range(count)]


def test_in_turn() -> None:
    """Doors that work are used in turn."""
    assert chosen(doors(), 1.0) == ["http://a", "http://b", "http://a", "http://b"]


def test_a_failed_door_rests() -> None:
    """A door that failed is left alone until its rest is over."""
    two = doors()
    two.failed("http://a", since=9.9, now=10.0)
    assert set(chosen(two, 11.9)) == {"http://b"}


def test_a_rested_door_is_probed_by_one_request() -> None:
    """After its rest one request tries it; the others keep away until that one has had an answer."""
    two = doors()
    two.failed("http://a", since=9.9, now=10.0)
    choices = [two.choose(12.1) for _ in range(6)]
    assert choices.count(Choice("http://a", probing=True)) == 1
    assert choices.count(Choice("http://b", probing=False)) == 5
    two.worked("http://a", now=12.2)
    assert set(chosen(two, 12.2)) == {"http://a", "http://b"}
    assert not two.choose(12.2).probing


def test_it_rests_longer_each_time_up_to_a_bound() -> None:
    """Each probe that fails doubles the rest: 2, 4, 8 and then always 8 s."""
    two = doors()
    now, rests = 10.0, []
    two.failed("http://a", since=now, now=now)
    for _ in range(4):
        begin = now
        while not two.choose(now).probing:
            now += 0.1
        rests.append(round(now - begin))
        two.failed("http://a", since=now, now=now)
    assert rests == [2, 4, 8, 8]


def test_what_breaks_together_is_one_failure() -> None:
    """A hundred connections that a dead door takes with it make it rest no longer than one would."""
    two = doors()
    for _ in range(100):
        two.failed("http://a", since=9.9, now=10.0)
    assert "http://a" in chosen(two, 12.1)


def test_silence_towards_one_is_no_failure() -> None:
    """A door that has answered others since is well; one that has answered nobody is left."""
    two = doors()
    two.worked("http://a", now=10.5)
    two.silent("http://a", since=10.0, now=10.75)
    assert "http://a" in chosen(two, 10.75)
    two.silent("http://a", since=10.6, now=11.35)
    assert "http://a" not in chosen(two, 11.35)


def test_a_repeat_takes_the_other_door() -> None:
    """The door of the last attempt is not the next one while another is as good, whoever's turn it is."""
    two = doors()
    assert [two.choose(0.0, last="http://a").url for _ in range(3)] == ["http://b"] * 3


def test_a_second_attempt_at_once_takes_the_other_door_even_while_it_rests_for_longer() -> None:
    """Where both doors are silent for a moment, no request waits twice at the one that stays silent."""
    two = doors()
    two.failed("http://a", since=9.9, now=10.0)
    two.failed("http://b", since=10.9, now=11.0)
    assert [two.choose(11.5, "http://a", {"http://a"}).url for _ in range(3)] == ["http://b"] * 3
    alone = Doors(["http://a"], rest_s=2.0, rest_max_s=8.0)
    assert alone.choose(0.0, "http://a", {"http://a"}).url == "http://a"


def test_a_second_attempt_at_once_does_not_take_a_broken_door_for_one_that_answers() -> None:
    """Behind a door that is well somebody else may answer; at one that is broken nobody does."""
    two = doors()
    two.failed("http://b", since=10.9, now=11.0)
    two.worked("http://a", now=11.4)
    two.silent("http://a", since=10.75, now=11.5)
    assert [two.choose(11.5, "http://a", {"http://a"}).url for _ in range(3)] == ["http://a"] * 3


def test_the_only_door_is_used_while_it_rests() -> None:
    """Where every door rests, the one whose rest ends first is tried."""
    two = doors()
    two.failed("http://a", since=9.9, now=10.0)
    two.failed("http://b", since=10.9, now=11.0)
    assert chosen(two, 11.5) == ["http://a"] * 4


def test_no_doors() -> None:
    """A client without a door is a mistake of whoever made it."""
    with pytest.raises(ValueError, match="at least one door"):
        Doors([], rest_s=2.0, rest_max_s=8.0)
