"""EventLog: readers see what was published, in order, or a gap that says what is missing."""

import asyncio
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vstream.service.event import EventKind
from vstream.service.event_log import EventLog

FIRED = EventKind.ALERT_FIRED


def publish(log, numbers):
    return [log.publish(FIRED, "door", {"number": number}) for number in numbers]


def numbers(events):
    return [event.data.get("number", "gap") for event in events]


async def take(reader, count):
    return [await anext(reader) for _ in range(count)]


def test_ids_rise_within_a_millisecond_and_over_a_restart():
    now = [1000.0]
    log = EventLog(clock=lambda: now[0])
    before = publish(log, range(10_000))  # more than there are ids in a millisecond
    now[0] += 3.0
    after = publish(EventLog(clock=lambda: now[0]), range(3))
    ids = [event.id for event in before + after]
    assert all(low < high for low, high in pairwise(ids))


def since(log, last_id):
    """All events after `last_id`, and whether some that came right after it are missing."""
    place, is_gap = log._place_after(last_id)
    return list(log._ring)[place - log._oldest_place() :], is_gap


def test_ids_rise_when_the_clock_goes_back():
    now = [1000.0]
    log = EventLog(clock=lambda: now[0])
    first = log.publish(FIRED, None, {})
    now[0] -= 100
    assert log.publish(FIRED, None, {}).id > first.id


@settings(max_examples=200)
@given(size=st.integers(1, 8), count=st.integers(0, 20), asked=st.integers(0, 19), data=st.data())
def test_since_is_the_tail_of_all_that_was_published_or_a_gap(size, count, asked, data):
    log = EventLog(size, clock=lambda: 1000.0)
    events = publish(log, range(count))
    if not events:
        assert since(log, 1000_000 * 4096) == ([], False)
        return
    asked %= count
    offset = data.draw(st.sampled_from([-1, 0]))
    found, gap = since(log, events[asked].id + offset)
    wanted = events[asked + 1 + offset :]
    assert gap == (len(wanted) > size)
    assert found == wanted[-size:]


def test_what_was_before_a_restart_is_a_gap():
    now = [1000.0]
    old = publish(EventLog(clock=lambda: now[0]), [1])[0]
    now[0] += 1
    log = EventLog(clock=lambda: now[0])
    assert since(log, old.id) == ([], True)
    new = publish(log, [2])[0]
    assert since(log, old.id) == ([new], True)
    assert since(log, new.id) == ([], False)
    assert since(log, new.id + 1_000_000_000) == ([new], True)  # ids of a clock that was ahead


def test_a_reader_gets_the_replay_then_the_rest():
    async def read():
        log = EventLog()
        first, *_ = publish(log, [0, 1, 2])
        reader = log.follow(first.id)
        late = log.follow(None)
        publish(log, [3])
        assert numbers(await take(reader, 3)) == [1, 2, 3]
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        assert not waiting.done()
        publish(log, [4])
        assert numbers([await waiting]) == [4]
        assert numbers(await take(late, 2)) == [3, 4]

    asyncio.run(read())


def test_a_slow_reader_is_told_how_much_it_missed_and_can_ask_again_from_there():
    async def read():
        log = EventLog(4)
        reader = log.follow(None)
        publish(log, range(2))
        assert numbers(await take(reader, 2)) == [0, 1]
        publish(log, range(2, 12))
        gap, *rest = await take(reader, 5)
        assert gap.kind is EventKind.GAP
        assert gap.data == {"missed": 6}
        assert numbers(rest) == [8, 9, 10, 11]
        assert log.num_missed == 6
        assert since(log, gap.id) == (rest, False)

    asyncio.run(read())


def test_a_reader_that_asks_for_what_is_gone_gets_a_gap_first():
    async def read():
        log = EventLog(2)
        first, *_ = publish(log, range(5))
        gap, *rest = await take(log.follow(first.id), 3)
        assert gap.kind is EventKind.GAP
        assert gap.data == {"missed": None}
        assert numbers(rest) == [3, 4]
        assert since(log, gap.id) == (rest, False)

    asyncio.run(read())


def test_readers_that_go_away_leave_nothing_behind():
    async def read():
        log = EventLog()
        got = asyncio.Queue()

        async def follow():
            async for event in log.follow(None):
                got.put_nowait(event)

        readers = [asyncio.create_task(follow()) for _ in range(100)]
        await asyncio.sleep(0)
        assert log.num_readers == 100
        publish(log, [0])
        for _ in readers:
            await got.get()
        for reader in readers[:50]:
            reader.cancel()
        await asyncio.gather(*readers[:50], return_exceptions=True)
        assert log.num_readers == 50
        publish(log, [1])
        for _ in readers[50:]:
            assert (await got.get()).data == {"number": 1}
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert log.num_readers == 0

    asyncio.run(read())


def test_a_closed_log_ends_its_readers_after_what_is_there():
    async def read():
        log = EventLog()
        reader = log.follow(None)
        idle = asyncio.create_task(anext(log.follow(None)))
        await asyncio.sleep(0)
        log.close()
        with pytest.raises(StopAsyncIteration):
            await idle
        publish(log, [0])
        assert numbers([event async for event in reader]) == [0]
        assert log.num_readers == 0

    asyncio.run(read())


def test_a_reader_whose_loop_is_gone_does_not_harm_the_publisher():
    log = EventLog()
    loop = asyncio.new_event_loop()
    reader = log.follow(None)
    task = loop.create_task(anext(reader))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert log.num_readers == 1
    loop.close()
    task._log_destroy_pending = False  # abandoned on purpose
    assert publish(log, [0])
    assert log.num_readers == 0


def test_many_threads_publish_to_many_readers_and_nothing_is_lost_or_reordered():
    async def read():
        log = EventLog(100_000)

        async def follow():
            return [event async for event in log.follow(None)]

        readers = [asyncio.create_task(follow()) for _ in range(5)]
        await asyncio.sleep(0)
        threads = [
            threading.Thread(target=publish, args=(log, range(k * 1000, k * 1000 + 1000)))
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        log.close()
        for events in await asyncio.gather(*readers):
            assert all(low.id < high.id for low, high in pairwise(events))
            for k in range(4):
                mine = [number for number in numbers(events) if number // 1000 == k]
                assert mine == list(range(k * 1000, k * 1000 + 1000))

    asyncio.run(read())


def test_publishing_does_not_wait_for_a_loop_that_is_busy():
    async def read():
        log = EventLog(16)
        reader = log.follow(None)
        first = asyncio.create_task(anext(reader))
        await asyncio.sleep(0)
        thread = threading.Thread(target=publish, args=(log, range(1000)))
        thread.start()
        thread.join(20)  # this holds up the loop that the reader lives in
        assert not thread.is_alive()
        assert (await first).kind is EventKind.GAP
        assert numbers(await take(reader, 16)) == list(range(984, 1000))

    asyncio.run(read())
