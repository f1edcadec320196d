"""The camera's server sends every packet once, however late its event loop is."""

import asyncio
import threading
import time

import numpy as np

from eval.stream_world.camera import put_once


def test_each_packet_is_put_once_and_in_order_beside_a_loop_that_is_late():
    pauses_s = np.random.default_rng(0).uniform(0.0, 0.08, 60)  # around the time that a wait lasts

    async def received():
        loop, queue, stop = asyncio.get_running_loop(), asyncio.Queue(maxsize=2), threading.Event()

        def put_all():
            assert all(put_once(loop, queue, number, stop) for number in range(60))

        putting = asyncio.create_task(asyncio.to_thread(put_all))
        numbers = []
        for pause_s in pauses_s:
            numbers.append(await queue.get())
            await asyncio.sleep(0)
            time.sleep(pause_s)
        await putting
        return numbers, queue.qsize()

    assert asyncio.run(received()) == (list(range(60)), 0)


def test_a_reader_that_is_told_to_stop_does_not_wait_for_room():
    async def outcome():
        loop, queue, stop = asyncio.get_running_loop(), asyncio.Queue(maxsize=1), threading.Event()
        queue.put_nowait("first")
        putting = asyncio.create_task(asyncio.to_thread(put_once, loop, queue, "second", stop))
        await asyncio.sleep(0.02)
        stop.set()
        return await putting, queue.get_nowait(), queue.qsize()

    assert asyncio.run(outcome()) == (False, "first", 0)
