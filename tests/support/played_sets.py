"""Question sets and E.T. Bench in their published layouts, short, with small videos that are there.

A video has one lossless picture a second, so that changing some leaves all others as they were.
"""

from fractions import Fraction

import av
import numpy as np
from etbench_fixture import load
from hand_made_sets import (
    mlvu_entry,
    ovo_choice,
    ovo_count,
    ovo_enough,
    ovo_step,
    rvs_entry,
    sb_choice,
    sb_entry,
    sb_files,
    sb_proactive,
    video_mme_entry,
    vs_entry,
    write_json,
    write_mlvu,
    write_ovo,
    write_streaming_bench,
    write_video_mme,
)

from encoders import Frame
from eval.etbench.command import asked_of as asked_of_samples
from eval.etbench.files import PublishedData
from eval.etbench.sample import TASKS
from eval.question_sets.command import asked_of
from eval.question_sets.scored_run import NAMES, make_benchmark

LENGTH_S = 20
LONG_S = 76
SETS = (*NAMES, "etbench")


def pixels_at(second, seed=0):
    """Noise that no two seconds share."""
    random = np.random.default_rng([seed, second])
    return random.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def write_pictures(path, length_s=LENGTH_S, other_after_s=None):
    """With other pictures after that second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for second in range(length_s):
            is_other = other_after_s is not None and second > other_after_s
            frame = av.VideoFrame.from_ndarray(pixels_at(second, int(is_other)), format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(from_s, to_s, other_after_s=None, step_s=1):
    """What a sampler takes of such a video, without a file."""
    seconds = range(int(from_s), int(to_s) + 1)
    return [
        Frame(pixels_at(s, int(other_after_s is not None and s > other_after_s)), float(s), 0.0)
        for s in seconds
        if s == int(from_s) or s % step_s == 0
    ]


def _write_ovo(path):
    entries = [
        ovo_choice(0, realtime=6.43),
        ovo_choice(1, "OCR", realtime=11),
        ovo_count(2, test_info=[{"realtime": 4, "count": 0}, {"realtime": 9, "count": 2}]),
        ovo_step(3, test_info=[{"realtime": 5, "step": "stir", "type": 1}]),
        ovo_enough(4, test_info=[{"realtime": 8.5, "type": 0}, {"realtime": 12, "type": 1}]),
    ]
    for entry in entries:
        entry["video"] = "COIN/a.mp4"
    return write_ovo(path, entries)


def _write_streaming_bench(path):
    def clock(second):
        return f"00:{second // 60:02d}:{second % 60:02d}"

    turns = [
        sb_choice("Sequential Question Answering", time_stamp=clock(second)) for second in (8, 70)
    ]
    proactive = sb_entry(sb_proactive(clock(3), clock(5)), video="a")
    files = {
        **sb_files(),
        "questions_real.json": [
            sb_entry(*(sb_choice(time_stamp=clock(second)) for second in (70, 9, 72)), video="a")
        ],
        "questions_omni.json": [],
        "questions_sqa.json": [[sb_entry(turn, video="a") for turn in turns]],
        "questions_proactive.json": [proactive],
        "questions_proactive_50.json": [proactive],
    }
    return write_streaming_bench(path, files)


def _write_vstream(path):
    clips = [vs_entry("a", duration=8), vs_entry("a", duration=8), vs_entry("b", duration=11)]
    write_json(path / "vstream/test_qa_ego4d.json", clips)
    write_json(path / "vstream/test_qa_movienet.json", clips)
    write_json(path / "ego/ego4d_oe.json", [rvs_entry("a", ends=(5, 13.5, 8))])
    movie = rvs_entry("a", ends=(9, 4))
    movie["video_path"] = "data/rvs/movie/videos/a.mp4"
    write_json(path / "movie/movienet_oe.json", [movie])
    return path


def _write_qaego4d(path):
    turn = {"question": "Where is it?", "choices": ["Red.", "Blue."], "answer": "Blue."}
    entry = {
        "video_id": "q1",
        "video_path": "data/qaego4d/videos/q1.mp4",
        "duration": 9.5,
        "conversations": [turn, {**turn, "question": "Where is it not?"}],
    }
    write_json(path / "test_mc.json", [entry])
    return path


def _write_etbench(path):
    """One sample of every task; two of them ask about one video."""
    first = {}
    for entry in load("annotations.json"):
        first.setdefault(entry["task"], {**entry, "duration": 9.6})
    entries = [first[task] for task in TASKS]
    entries[1]["video"] = entries[0]["video"]
    write_json(path / "annotations/etbench_txt_v1.0.json", entries)
    return path


_WRITERS = {
    "mlvu": lambda path: write_mlvu(
        path, **{task: [mlvu_entry(duration=9)] for task in ("count", "ego", "plotQA")}
    ),
    "ovo-bench": _write_ovo,
    "qaego4d": _write_qaego4d,
    "rvs-ego": _write_vstream,
    "rvs-movie": _write_vstream,
    "streaming-bench": _write_streaming_bench,
    "streaming-bench-all-context": _write_streaming_bench,
    "video-mme": lambda path: write_video_mme(path, [video_mme_entry(n) for n in (1, 2)]),
    "vs-ego": _write_vstream,
    "vs-movie": _write_vstream,
    "etbench": _write_etbench,
}
_TASKS = {"mlvu": ("count", "ego")}


def write_set(name, path, other_after_s=None):
    """The set and its videos; what a run asks of it."""
    _WRITERS[name](path)
    length_s = LONG_S if name.startswith("streaming") else LENGTH_S
    return _asked_in(name, path, lambda video: write_pictures(video, length_s, other_after_s))


def _asked_in(name, path, make):
    """What a run asks; `make` is called with the path of each video first."""
    if name == "etbench":
        data = PublishedData(path)
        samples = data.samples()
        for video in {path / "videos" / sample.video for sample in samples}:
            make(video)
        return asked_of_samples(samples, data)
    benchmark = make_benchmark(name)
    asked = asked_of(benchmark, benchmark.load(path, _TASKS.get(name, ())), path)
    for video in {one.video for one in asked}:
        make(video)
    return asked
