"""What is wrong is told when it is new, and once an hour while it lasts."""

from vstream.sources.seldom import Seldom


def test_what_is_wrong_is_told_when_it_is_new_and_once_an_hour():
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    told = []
    for second in range(2 * 3600 + 1):
        now[0] = float(second)
        told += [(second, times) for times in (seldom.times("lost"),) if times]
    assert told == [(0, 1), (3600, 3600), (7200, 3600)]
    assert (seldom.times("refused"), seldom.times("lost"), seldom.times("lost")) == (1, 1, 0)
    seldom.is_well()
    assert (seldom.times("lost"), seldom.times("lost")) == (1, 0)
