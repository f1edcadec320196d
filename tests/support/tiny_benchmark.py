"""The stream-world benchmark on a tiny random model and streams of less than a minute."""

from dataclasses import replace

from engine import tiny_video_llm
from token_family import TokenFamily

from eval.stream_benchmark.benchmark import StreamBenchmark
from eval.stream_benchmark.exam import ExamOptions, draw_exam
from eval.stream_benchmark.policy import parse_policies
from eval.stream_benchmark.report import policy_reports
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.stream_records import records_of
from eval.stream_world import Renderer
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


class CountingRenderer(Renderer):
    num_frames = 0

    def frame(self, moment):
        self.num_frames += 1
        return super().frame(moment)


class TinyBenchmark:
    """One run over a directory; `model` is by default a tiny Llama without a vision tower."""

    def __init__(self, path, policies, model=None, options=TINY, has_watches=False):
        self.model = model or terse_model()
        self.exam = draw_exam(options)
        self.policies = parse_policies(policies)
        self.renderer = CountingRenderer()
        self.path = path
        self.blocks = StreamBlocks(path, self.model, load_config(), self.renderer)
        self.benchmark = StreamBenchmark(
            options, self.exam, self.policies, path, self.blocks, has_watches
        )

    def run(self, advance=lambda doing, steps: None):
        self.benchmark.run(advance)
        return self

    def documents(self, name):
        """The records of that name of all streams."""
        return [
            document
            for stream in self.exam
            for document in records_of(self.path, stream.name, name).documents
        ]

    def answers(self, policy):
        """The records of a policy but for the time they took."""
        return [{**record, "ttft_ms": None} for record in self.documents(policy)]

    def reports(self):
        return policy_reports(self.benchmark.outcomes())


def terse_model():
    model, _ = tiny_video_llm("llama")
    return replace(model, family=TerseFamily(model.decoder.embed, 400))
