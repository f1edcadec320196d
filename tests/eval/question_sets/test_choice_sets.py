"""MLVU, QAEgo4D and Video-MME: scores and tables, against their published rules by hand."""

import pytest
from hand_made_sets import (
    hand_made,
    mlvu_entry,
    published,
    score_all,
    strict,
    video_mme_entry,
    write_mlvu,
    write_video_mme,
)

from eval.question_sets.choice_sets import Mlvu, VideoMme

# The truth is C: the published score, the strict one.
MLVU = {
    "C": (1, 1),
    "C) Blue": (1, 1),
    "(C)": (1, 1),
    "C.": (0, 1),
    "The answer is C": (0, 1),
    "C) or B)": (1, 0),
    ")": (0, 0),
    "B) not C)": (0, 0),
    "": (0, 0),
    None: (0, 0),
}
QAEGO4D = {
    "C": (1, 1),
    " C) Blue": (1, 1),
    "C. Blue": (1, 1),
    "Cup": (1, 0),
    "(C)": (1, 1),
    "The answer is C": (0, 1),
    "  ": (0, 0),
    None: (0, 0),
}
VIDEO_MME = {
    "C": (1, 1),
    "C. Blue.": (1, 1),
    "The best answer is C": (1, 1),
    "The answer C": (1, 1),
    "Because it is C": (0, 1),
    "CD": (1, 0),
    "it is blue": (None, 0),
    "c": (None, 1),
    "": (None, 0),
    None: (None, 0),
}


@pytest.mark.parametrize(
    ("name", "cases"), [("mlvu", MLVU), ("qaego4d", QAEGO4D), ("video-mme", VIDEO_MME)]
)
def test_choices_of_all_kinds(name, cases, tmp_path):
    benchmark, items = hand_made(name, tmp_path)
    assert items[0].answer == "C"
    found = {text: benchmark.score(items[0], (text,)) for text in cases}
    assert {text: (o.published, o.strict) for text, o in found.items()} == cases


def test_the_average_of_mlvu_is_that_of_its_tasks(tmp_path):
    items = Mlvu().load(write_mlvu(tmp_path, count=[mlvu_entry(), mlvu_entry(video="b.mp4")]))
    rows = Mlvu().aggregate(score_all(Mlvu(), items, "C", "A", "C", "C", "A", "A", "A", "A"))
    assert published(rows)["count"] == 50
    assert published(rows)["M-Avg"] == pytest.approx(100 * 2.5 / 7, abs=1e-3)
    assert strict(rows)["M-Avg"] == published(rows)["M-Avg"]


def test_of_two_equal_options_the_last_is_right_and_of_none_nothing(tmp_path):
    twice = mlvu_entry(candidates=["Blue", "Red", "Blue", "White"])
    never = mlvu_entry(answer="Black")
    first, second = Mlvu().load(write_mlvu(tmp_path, needle=[twice, never]), ["needle"])
    said = {letter: Mlvu().score(first, (letter,)) for letter in "AC"}
    assert {letter: (o.published, o.strict) for letter, o in said.items()} == {
        "A": (0, 1),
        "C": (1, 1),
    }
    assert all(Mlvu().score(second, (letter,)).strict == 0 for letter in "ABCD")


def test_paths_of_videos_lie_within_the_data_directory(tmp_path):
    videos = {
        "mlvu": "video/4_count/movie101_16.mp4",
        "qaego4d": "videos/q1.mp4",
        "video-mme": "data/v0.mp4",
        "rvs-ego": "ego/videos/ego_1.mp4",
        "rvs-movie": "movie/videos/tt2.mp4",
        "vs-ego": "vstream/ego4d_videos/000246.mp4",
        "streaming-bench": "videos/sample_1_real.mp4",
        "ovo-bench": "src_videos/Ego4D/a.mp4",
    }
    found = {name: hand_made(name, tmp_path / name)[1][0].video for name in videos}
    assert found == videos


def test_video_mme_pools_durations_and_leaves_out_what_names_no_letter(tmp_path):
    entries = [video_mme_entry(n, ("short", "long")[n % 2]) for n in range(6)]
    items = VideoMme().load(write_video_mme(tmp_path, entries))
    rows = VideoMme().aggregate(score_all(VideoMme(), items, "C", "C", "A", "none", "C", "B"))
    table = published(rows)
    assert table["short"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert table["long"] == 50
    assert table["medium"] is None
    assert table["Overall"] == table["Counting Problem"] == 60
    assert strict(rows)["Overall"] == 50
