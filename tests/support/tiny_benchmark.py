"""The stream-world benchmark on a tiny random model and streams of less than a minute."""

from dataclasses import replace

from engine import tiny_video_llm
from token_family import TokenFamily

from eval.play.contender import LANGUAGE, Contender, parse_contenders
from eval.play.play_all import WorkerSetup, play_all, tasks_of
from eval.play.records import Records
from eval.play.settings import PlaySettings
from eval.run.run_directory import RunDirectory
from eval.stream_benchmark.exam import ExamOptions, draw_exam
from eval.stream_benchmark.run import plays_of, reports_of
from eval.stream_benchmark.watches import standing_questions
from eval.stream_world import WORLD_PX
from vstream import load_config

TINY = ExamOptions(seed=3, length_s=40, num_streams=1, num_questions=10)


class TerseFamily(TokenFamily):
    """Half of all tokens end an answer: the replies of a random model are short."""

    stop_ids = frozenset(range(0, 400, 2))

    def __init__(self, embed, vocabulary):
        super().__init__(embed, vocabulary)
        self.num_encoded = 0

    def encode(self, groups):
        self.num_encoded += len(groups)
        return super().encode(groups)


class TinyBenchmark:
    """One run over a directory; `model` is by default a tiny Llama without a vision tower."""

    def __init__(self, path, contenders, model=None, options=TINY, has_watches=False):
        """`contenders` as `default uniform,codec=int4`."""
        self.model = model or terse_model()
        self.options = options
        self.exam = draw_exam(options)
        texts = [f"policy={text}" for text in contenders.split()]
        self.contenders = parse_contenders(texts, knows_evidence=True)
        self.path = path
        config = load_config(source={"dedup_threshold": 0.0})
        self.settings = PlaySettings(config, follows_times=True, folder=path / "blocks")
        self.setup = WorkerSetup(self.settings, 1.0, 1)
        self.standing = standing_questions(self.exam) if has_watches else {}
        self.plays = plays_of(self.exam, self.standing, WORLD_PX)

    @property
    def records(self):
        return Records(RunDirectory(self.path, {}), self._all)

    @property
    def _all(self):
        return [*self.contenders, Contender(LANGUAGE)]

    @property
    def tasks(self):
        """What is left to be done."""
        return tasks_of(self.plays, self._all, self.records.known, self.settings, self.model)

    def run(self, taken=lambda told: None):
        """`taken` is told what has come to be on record."""
        records = self.records
        take = records.take

        def take_and_tell(told):
            take(told)
            taken(told)

        records.take = take_and_tell
        play_all(self.tasks, records, self.setup, self.setup.work(self.model), 1)
        return self

    def answers(self, name):
        """What a contender said, by question, but for the time it took."""
        return {
            one: {**document["said"][0], "first_token_ms": None, "text": document["texts"][0]}
            for one, document in self.records.answers[name].items()
        }

    def reports(self):
        records = self.records
        return reports_of(self.exam, self.standing, self.options, self._all, records)


def terse_model():
    model, _ = tiny_video_llm("llama")
    return replace(model, family=TerseFamily(model.decoder.embed, 400))
