"""The day on a tiny random model: some minutes of stream, and a budget too small for them."""

import dataclasses

from tiny_benchmark import CountingRenderer, terse_model

from eval.day.day_run import DayOptions, DayRun
from eval.day.encoded_day import EncodedDay
from eval.stream_benchmark.exam import day_seed
from eval.stream_world import write_script
from vstream import load_config

LENGTH_S = 420
OPTIONS = DayOptions(budget_share=3, num_questions=30)


class TinyDay:
    """One directory; two of them have the same stream and the same model."""

    def __init__(self, path, length_s=LENGTH_S):
        self.path = path
        self.model = terse_model()
        self.script = write_script(day_seed(1), length_s)
        self.renderer = CountingRenderer()
        self.encoded = EncodedDay(
            path / "blocks", self.script, self.model, load_config(), self.renderer
        )

    def encode(self, advance=lambda frames: None):
        self.encoded.encode(advance)
        return self

    def replay(self, advance=lambda name, frames: None, options=OPTIONS):
        run = DayRun(self.path, self.encoded, options, self.script)
        found = run.run(self.model, load_config(), advance)
        described = {"seed": 1, "length_s": LENGTH_S, **run.described(found)}
        return described, found

    def records(self):
        return list(self.encoded.records())


def without_times(replayed):
    """What came of a replay, but for what the clock and the rest of the machine have a part in."""
    answers = {
        name: [{**record, "ttft_ms": None} for record in records]
        for name, records in replayed.answers.items()
    }
    samples = [{**sample, "rss_bytes": None} for sample in replayed.samples]
    return dataclasses.replace(
        replayed, answers=answers, samples=samples, peaks={}, first_tokens_ms={}
    )
