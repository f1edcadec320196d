"""Who takes which stream, whatever dies, joins, hangs or is full."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.cluster.ownership import RANK_S, UNEVEN, free_since, rendezvous, to_give, to_take

NAMES = [f"w{number}" for number in range(6)]
IDS = [f"cam-{number}" for number in range(12)]
ROOM = len(IDS)
workers = st.sets(st.sampled_from(NAMES), min_size=1)
streams = st.sets(st.sampled_from(IDS))
moments = st.floats(0, 30, allow_nan=False)
few = settings(max_examples=25)


def takers(stream_id, free, living, now):
    return [one for one in living if stream_id in to_take(one, free, living, ROOM, now)]


class Cluster:
    """Workers that look once a second at who writes what."""

    def __init__(self, living, owners, hung=(), room=ROOM):
        self.seen = set(living)
        self.awake = set(living) - set(hung)
        self.owners = dict(owners)
        self.free = {worker: {} for worker in NAMES}
        self.room = room
        self.moved = set()

    def step(self, now):
        for worker in sorted(self.awake):
            free = [one for one in IDS if self.owners.get(one) is None]
            self.free[worker] = free_since(self.free[worker], free, now)
            room = self.room - list(self.owners.values()).count(worker)
            for one in to_take(worker, self.free[worker], self.seen, room, now):
                self.owners[one] = worker
                self.moved.add(one)

    def run(self, begin_s=0.0):
        for second in range(int(RANK_S) * len(NAMES) + 1):
            self.step(begin_s + second)


@few
@given(workers, streams, moments, moments)
def test_a_rank_is_one_workers_and_the_first_comes_at_once(living, free, since, waited):
    free_at = dict.fromkeys(free, since)
    for stream_id in free:
        assert sorted(rendezvous(stream_id, living)) == sorted(living)
        assert takers(stream_id, free_at, living, since) == rendezvous(stream_id, living)[:1]
        now = since + waited
        may = takers(stream_id, free_at, living, now)
        by_then = [rank for rank in range(len(living)) if now >= since + rank * RANK_S]
        assert len(may) == len(by_then)


@few
@given(workers, st.data())
def test_every_stream_has_a_writer_in_the_end_however_many_hang(living, data):
    hung = data.draw(st.sets(st.sampled_from(sorted(living)), max_size=len(living) - 1))
    cluster = Cluster(living, {}, hung)
    cluster.run()
    assert set(cluster.owners.values()) <= living - hung
    assert set(cluster.owners) == set(IDS)


@few
@given(st.sets(st.sampled_from(NAMES), min_size=3))
def test_what_has_no_place_with_one_finds_it_with_others(living):
    room = -(-len(IDS) // len(living))
    cluster = Cluster(living, {}, room=room)
    cluster.run()
    assert set(cluster.owners) == set(IDS)
    assert max(Counter(cluster.owners.values()).values()) <= room


@few
@given(workers, st.sampled_from(NAMES))
def test_who_joins_moves_nothing(living, joining):
    cluster = Cluster(living, {})
    cluster.run()
    before = dict(cluster.owners)
    cluster.seen.add(joining)
    cluster.awake.add(joining)
    cluster.run(100.0)
    assert cluster.owners == before
    for stream_id in IDS:
        ranks = rendezvous(stream_id, living | {joining})
        assert [one for one in ranks if one != joining or joining in living] == rendezvous(
            stream_id, living
        )


@few
@given(st.sets(st.sampled_from(NAMES), min_size=2), st.booleans(), st.data())
def test_a_death_moves_the_streams_of_the_dead_alone(living, is_known, data):
    """Whether the others know that it is dead or take it for alive."""
    cluster = Cluster(living, {})
    cluster.run()
    dead = data.draw(st.sampled_from(sorted(living)))
    before, lost = dict(cluster.owners), {s for s, w in cluster.owners.items() if w == dead}
    cluster.moved.clear()
    cluster.awake.discard(dead)
    if is_known:
        cluster.seen.discard(dead)
    cluster.owners = {one: worker for one, worker in before.items() if worker != dead}
    cluster.run(100.0)
    assert cluster.moved == lost
    assert set(cluster.owners) == set(IDS)
    assert dead not in cluster.owners.values()


@few
@given(workers, st.lists(st.floats(0.1, 5), min_size=len(IDS), max_size=len(IDS)), st.data())
def test_streams_move_until_all_have_about_the_same_and_no_longer(living, sizes, data):
    size = dict(zip(IDS, sizes, strict=True))
    owner = {one: data.draw(st.sampled_from(sorted(living))) for one in IDS}

    def loads():
        found = dict.fromkeys(living, 0.0)
        for one, worker in owner.items():
            found[worker] += size[one]
        return found

    for _ in range(200):
        before = loads()
        mine = {w: {one: size[one] for one in IDS if owner[one] == w} for w in living}
        gifts = {w: one for w in living if (one := to_give(w, before, mine[w])) is not None}
        assert len(gifts) <= 1
        if not gifts:
            break
        ((giver, given_away),) = gifts.items()
        assert before[giver] == max(before.values())
        assert before[giver] - min(before.values()) > UNEVEN * before[giver]
        owner[given_away] = rendezvous(given_away, living - {giver})[0]
        assert sum(load**2 for load in loads().values()) < sum(n**2 for n in before.values())
    else:
        raise AssertionError("streams never stop moving")


def test_who_gives_a_stream_away_takes_it_back_only_if_nobody_comes():
    first, second = rendezvous("door", ["a", "b"])
    free = {"door": 0.0}
    assert to_take(first, free, ["a", "b"], 4, 0.0) == ["door"]
    assert to_take(first, free, ["a", "b"], 4, RANK_S, given={"door"}) == []
    assert to_take(second, free, ["a", "b"], 4, RANK_S) == ["door"]
    assert to_take(first, free, ["a", "b"], 4, 2 * RANK_S, given={"door"}) == ["door"]


def test_a_full_worker_takes_nothing():
    assert to_take("a", {"door": 0.0}, ["a"], 0, 99.0) == []
    assert to_take("a", {"door": 0.0}, ["a"], -1, 99.0) == []
