"""What holds for every question set: exact prompts, when what may be seen, what is missing."""

import json
import math
from pathlib import Path

import pytest
from hand_made_sets import (
    WRITERS,
    hand_made,
    ovo_choice,
    ovo_count,
    ovo_enough,
    ovo_step,
    rvs_entry,
    sb_choice,
    sb_entry,
    sb_files,
    sb_proactive,
    write_json,
    write_ovo,
    write_streaming_bench,
)
from hypothesis import given
from hypothesis import strategies as st

from eval.play.plays import TimeSpan
from eval.question_sets.data_files import require_videos
from eval.question_sets.scored_run import NAMES, make_benchmark
from eval.question_sets.vstream_qa import SUBSETS
from vstream import SettingsError

GOLDEN = Path(__file__).parents[2] / "data/question_prompts"
SECONDS = st.integers(0, 20_000)


def clock(second):
    return f"{second // 3600:02d}:{second % 3600 // 60:02d}:{second % 60:02d}"


@pytest.mark.parametrize("name", NAMES)
def test_the_prompts_are_the_published_ones_letter_for_letter(name, tmp_path):
    benchmark, items = hand_made(name, tmp_path)
    by_task = {}
    for item in items:
        prompts = [benchmark.prompt(item), benchmark.follow_up(item, "Yes.")]
        for prompt in filter(None, prompts):
            parts = {"system": prompt.system, "text": prompt.text, "start": prompt.answer_start}
            by_task.setdefault(item.task, []).append(parts)
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert by_task == golden


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_seen_after_it_is_asked_and_every_id_is_its_own(name, tmp_path):
    benchmark, items = hand_made(name, tmp_path)
    assert len({item.id for item in items}) == len(items) > 0
    for item in items:
        assert all(0 <= span.start_s <= span.end_s for span in item.spans)
        if not item.polls_s:
            assert item.spans == (TimeSpan(item.seen_from_s, item.asked_s),)
            assert benchmark.follow_up(item, "yes") is None


@given(st.lists(st.floats(0, 5000), min_size=4, max_size=4))
def test_ovo_bench_sees_up_to_the_time_of_each_probe(tmp_path_factory, times):
    entries = [
        ovo_choice(0, realtime=times[0]),
        ovo_count(1, test_info=[{"realtime": times[1], "count": 1}]),
        ovo_step(2, test_info=[{"realtime": times[2], "step": "stir", "type": 1}]),
        ovo_enough(3, test_info=[{"realtime": times[3], "type": 0}]),
    ]
    items = make_benchmark("ovo-bench").load(write_ovo(tmp_path_factory.mktemp("ovo"), entries))
    assert [item.spans for item in items] == [(TimeSpan(0, second),) for second in times]


@given(SECONDS, SECONDS, st.integers(0, 40))
def test_streaming_bench_sees_a_minute_and_polls_until_four_seconds_late(
    tmp_path_factory, choice_s, asked_s, waits_s
):
    files = {
        **sb_files(),
        "questions_real.json": [sb_entry(sb_choice(time_stamp=clock(choice_s)))],
        "questions_proactive.json": [
            sb_entry(sb_proactive(clock(asked_s), clock(asked_s + waits_s)))
        ],
        "questions_proactive_50.json": [],
    }
    path = write_streaming_bench(tmp_path_factory.mktemp("sb"), files)
    [choice] = make_benchmark("streaming-bench").load(path, ["OP"])
    [whole] = make_benchmark("streaming-bench-all-context").load(path, ["OP"])
    [proactive] = make_benchmark("streaming-bench").load(path, ["PO"])
    assert choice.spans == (TimeSpan(max(0, choice_s - 60), choice_s),)
    assert whole.spans == (TimeSpan(0, choice_s),)
    last_s = asked_s + waits_s + 4
    assert proactive.spans == tuple(TimeSpan(asked_s, s) for s in range(asked_s + 1, last_s + 1))


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=5))
def test_rvs_sees_up_to_the_end_time_of_each_question_in_any_order(tmp_path_factory, ends):
    path = tmp_path_factory.mktemp("rvs")
    write_json(path / "ego/ego4d_oe.json", [rvs_entry(ends=ends)])
    items = make_benchmark("rvs-ego").load(path)
    assert [item.spans for item in items] == [(TimeSpan(0, end),) for end in ends]
    assert [item.context for item in items] == [""] * len(ends)


def test_sets_about_whole_videos_ask_at_their_ends(tmp_path):
    ends = {"vs-ego": 840, "mlvu": 740, "qaego4d": 495.5, "video-mme": math.inf}
    for name, end_s in ends.items():
        _, items = hand_made(name, tmp_path / name)
        assert {item.spans for item in items} == {(TimeSpan(0, end_s),)}


FIRST_FILE = {
    "mlvu": "json/4_count.json",
    "ovo-bench": "ovo_bench_new.json",
    "qaego4d": "test_mc.json",
    "rvs-ego": "ego/ego4d_oe.json",
    "rvs-movie": "movie/movienet_oe.json",
    "streaming-bench": "questions_real.json",
    "streaming-bench-all-context": "questions_proactive_50.json",
    "video-mme": "videomme/test-00000-of-00001.jsonl",
    "vs-ego": "vstream/test_qa_ego4d.json",
    "vs-movie": "vstream/test_qa_movienet.json",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_with_where_it_is_published(name, tmp_path):
    benchmark = make_benchmark(name)
    with pytest.raises(SettingsError, match="lacks") as caught:
        benchmark.load(tmp_path)
    said = str(caught.value)
    assert FIRST_FILE[name] in said
    assert str(tmp_path) in said
    assert benchmark.published in said
    assert "nothing is downloaded" in said


def test_every_missing_file_is_named_and_no_other(tmp_path):
    write_streaming_bench(tmp_path)
    (tmp_path / "questions_omni.json").unlink()
    (tmp_path / "questions_proactive_50.json").unlink()
    with pytest.raises(SettingsError) as caught:
        make_benchmark("streaming-bench").load(tmp_path)
    assert "lacks questions_omni.json, questions_proactive_50.json;" in str(caught.value)
    assert len(make_benchmark("streaming-bench").load(tmp_path, ["OP", "SQA"])) == 3


def test_missing_videos_are_named_once_each(tmp_path):
    benchmark, items = hand_made("ovo-bench", tmp_path)
    (tmp_path / "src_videos/COIN").mkdir(parents=True)
    (tmp_path / "src_videos/COIN/c.mp4").touch()
    with pytest.raises(SettingsError) as caught:
        require_videos(tmp_path, items, benchmark.published)
    named = "src_videos/Ego4D/a.mp4, src_videos/perception/b.mp4, src_videos/MovieNet/d.mp4;"
    assert f"lacks {named}" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_form_is_refused_by_name(name, tmp_path):
    WRITERS[name](tmp_path)
    spoilt = '{"no": "list"}' if name == "video-mme" else '[{"no": "entry"}]'
    (tmp_path / FIRST_FILE[name]).write_text(spoilt)
    with pytest.raises(SettingsError, match=r"is not as published|is not a list"):
        make_benchmark(name).load(tmp_path)


def test_a_broken_file_and_an_unknown_task_or_set_are_refused(tmp_path):
    write_ovo(tmp_path)
    with pytest.raises(SettingsError, match="no 'XYZ'; choose of EPM, ASI"):
        make_benchmark("ovo-bench").load(tmp_path, ["XYZ"])
    with pytest.raises(SettingsError, match="choose of mlvu, ovo-bench"):
        make_benchmark("ovo")
    (tmp_path / "ovo_bench_new.json").write_text("[")
    with pytest.raises(SettingsError, match=r"ovo_bench_new\.json is not JSON"):
        make_benchmark("ovo-bench").load(tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SUBSETS])
def test_a_question_that_was_not_asked_is_left_out_as_published_and_wrong_strictly(name, tmp_path):
    benchmark, items = hand_made(name, tmp_path)
    outcome = benchmark.score(items[0], ())
    assert (outcome.published, outcome.strict, outcome.oddity) == (None, 0.0, "not asked")


def play(benchmark, item, ask):
    """As the protocol says that a video is played for an item; the texts, and what was shown."""
    texts, seen = [], []
    for span in item.spans:
        texts.append(ask(benchmark.prompt(item).text, span))
        seen.append(span)
        if (final := benchmark.follow_up(item, texts[-1])) is not None:
            texts.append(ask(final.text, span))
            break
    return texts, seen


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SUBSETS])
def test_who_plays_by_the_protocol_and_knows_everything_is_always_right(name, tmp_path):
    benchmark, items = hand_made(name, tmp_path)
    outcomes = []
    for item in items:
        true_s = item.polls_s[-1] - 4 if item.polls_s else None

        def ask(text, span, item=item, true_s=true_s):
            if "right time" in text:
                return "yes" if span.end_s >= true_s else "no"
            return item.answer

        texts, seen = play(benchmark, item, ask)
        assert seen[-1].end_s == (true_s or item.asked_s)
        outcomes.append(benchmark.score(item, texts))
    assert {(o.published, o.strict, o.oddity) for o in outcomes} == {(1.0, 1.0, "")}
    for row in benchmark.aggregate(outcomes):
        for found in filter(None, (row.published, row.strict)):
            assert found.mean == pytest.approx(100)
