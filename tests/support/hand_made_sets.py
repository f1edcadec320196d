"""Hand-made question sets in the layouts that the published ones have."""

import json

from eval.question_sets.scored_run import make_benchmark

OPTIONS = ["Red.", "Green.", "Blue.", "White."]
LETTERED = [f"{letter}. {option}" for letter, option in zip("ABCD", OPTIONS, strict=True)]


def write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def ovo_choice(number=0, task="EPM", **changes):
    entry = {
        "id": number,
        "task": task,
        "video": "Ego4D/a.mp4",
        "realtime": 88.43,
        "question": "What colour is the cup?",
        "answer": "Blue.",
        "options": OPTIONS,
        "gt": 2,
    }
    return {**entry, **changes}


def ovo_count(number=1, counts=(0, 2), **changes):
    probes = [{"realtime": 10 + 7 * n, "count": count} for n, count in enumerate(counts)]
    entry = {
        "id": number,
        "task": "REC",
        "video": "perception/b.mp4",
        "activity": "open a door",
        "start_times": [3],
        "end_times": [9],
        "test_info": probes,
    }
    return {**entry, **changes}


def ovo_step(number=2, types=(0, 1), **changes):
    probes = [
        {"realtime": 20 + n, "step": "stir the soup", "type": kind} for n, kind in enumerate(types)
    ]
    entry = {
        "id": number,
        "task": "SSR",
        "video": "COIN/c.mp4",
        "tutorial": "Soup",
        "all_steps": ["stir the soup"],
        "start_time": [21],
        "end_time": [30],
        "test_info": probes,
    }
    return {**entry, **changes}


def ovo_enough(number=3, types=(0, 1), **changes):
    probes = [{"realtime": 40 + 9 * n, "type": kind} for n, kind in enumerate(types)]
    entry = {
        "id": number,
        "task": "CRR",
        "video": "MovieNet/d.mp4",
        "question": "What does she do next?",
        "answer": "She leaves.",
        "ask_time": 40,
        "clue_time": 45,
        "test_info": probes,
    }
    return {**entry, **changes}


OVO_TASKS = ("EPM", "ASI", "HLD", "OCR", "ACR", "ATR", "STU", "FPD", "OJR")


def ovo_entries():
    """Every task once; three forward questions with two probes each."""
    choices = [ovo_choice(n, task) for n, task in enumerate(OVO_TASKS)]
    return [*choices, ovo_count(20), ovo_step(21), ovo_enough(22)]


def write_ovo(path, entries=None):
    write_json(path / "ovo_bench_new.json", ovo_entries() if entries is None else entries)
    return path


def sb_choice(task_type="Object Recognition", **changes):
    question = {
        "task_type": task_type,
        "question": "What colour is the cup now?",
        "time_stamp": "00:01:31",
        "answer": "C",
        "options": LETTERED,
        "required_ability": "working memory",
    }
    return {**question, **changes}


def sb_entry(*questions, video="sample_1_real"):
    return {
        "time": "[0:00:00 - 0:02:00]",
        "questions": list(questions),
        "video_categories": "cups",
        "video_path": f"./videos/{video}.mp4",
    }


def sb_proactive(time_stamp="00:00:20", true="00:00:24", output="3"):
    return {
        "task_type": "Proactive Output",
        "question": f'When the score is {output}, output "{output}".',
        "time_stamp": time_stamp,
        "ground_truth_time_stamp": true,
        "ground_truth_output": output,
        "required_ability": "working memory",
    }


SB_REAL = (
    "Object Recognition",
    "Causal Reasoning",
    "Clips Summarize",
    "Attribute Recognition",
    "Event Understanding",
    "Text-Rich Understanding",
    "Prospective Reasoning",
    "Spatial Understanding",
    "Action Recognition",
    "Counting",
)
SB_OMNI = (
    "Emotion Recognition",
    "Scene Understanding",
    "Source Discrimination",
    "Multimodal Alignment",
    "Anomaly Context Understanding",
    "Misleading Context Understanding",
)


def sb_files():
    """Every task once, two turns of a sequence, two proactive questions, one in the table."""
    turns = [
        sb_choice("Sequential Question Answering", time_stamp="00:00:36", options=OPTIONS),
        sb_choice("Sequential Question Answering", time_stamp="00:03:02", answer="A"),
    ]
    first, second = (
        sb_entry(sb_proactive(output=output), video="sample_3_proactive") for output in ("3", "20")
    )
    return {
        "questions_real.json": [sb_entry(sb_choice(task)) for task in SB_REAL],
        "questions_omni.json": [sb_entry(sb_choice(task), video="sample_2_ER") for task in SB_OMNI],
        "questions_sqa.json": [[sb_entry(turn, video="sample_17_sqa") for turn in turns]],
        "questions_proactive.json": [first, second],
        "questions_proactive_50.json": [first],
    }


def write_streaming_bench(path, files=None):
    for name, document in (files or sb_files()).items():
        write_json(path / name, document)
    return path


def vs_entry(video="000246", **changes):
    entry = {
        "video_id": video,
        "question": "What is on the table?",
        "id": f"{video}_1",
        "answer": "a red cup",
        "answer_type": "Scene Summary",
        "duration": 840,
    }
    return {**entry, **changes}


def rvs_entry(video="ego_1", ends=(30, 75.5)):
    turns = [
        {
            "question": f"What is on the table at {end}?",
            "answer": "a red cup",
            "start_time": 0,
            "end_time": end,
        }
        for end in ends
    ]
    return {
        "video_id": video,
        "video_path": f"data/rvs/ego/videos/{video}.mp4",
        "duration": 3600,
        "conversations": turns,
    }


def write_vstream(path):
    write_json(path / "vstream/test_qa_ego4d.json", [vs_entry(), vs_entry(), vs_entry("000247")])
    write_json(path / "vstream/test_qa_movienet.json", [vs_entry("tt1")])
    write_json(path / "ego/ego4d_oe.json", [rvs_entry()])
    movie = rvs_entry("tt2")
    movie["video_path"] = "data/rvs/movie/videos/tt2.mp4"
    write_json(path / "movie/movienet_oe.json", [movie])
    return path


MLVU_FILES = {
    "count": "4_count",
    "ego": "3_ego",
    "needle": "2_needle",
    "order": "5_order",
    "plotQA": "1_plotQA",
    "anomaly_reco": "6_anomaly_reco",
    "topic_reasoning": "7_topic_reasoning",
}


def mlvu_entry(**changes):
    entry = {
        "video": "movie101_16.mp4",
        "duration": 740,
        "question": "What colour is the cup?",
        "candidates": ["Red", "Green", "Blue", "White"],
        "answer": "Blue",
        "question_type": "plotQA",
    }
    return {**entry, **changes}


def write_mlvu(path, **entries):
    """`entries`: by task; one entry for those not given."""
    for task, file in MLVU_FILES.items():
        write_json(path / f"json/{file}.json", entries.get(task, [mlvu_entry()]))
    return path


def write_qaego4d(path):
    turn = {"question": "Where is the cup?", "choices": OPTIONS, "answer": "Blue."}
    entry = {
        "video_id": "q1",
        "video_path": "data/qaego4d/videos/q1.mp4",
        "duration": 495.5,
        "conversations": [turn, {**turn, "answer": "Red."}],
    }
    write_json(path / "test_mc.json", [entry])
    return path


def video_mme_entry(number=1, duration="short", task="Counting Problem"):
    return {
        "video_id": f"{number:03d}",
        "duration": duration,
        "domain": "Knowledge",
        "sub_category": "History",
        "url": "",
        "videoID": f"v{number}",
        "question_id": f"{number:03d}-1",
        "task_type": task,
        "question": "How many cups?",
        "options": LETTERED,
        "answer": "C",
    }


def write_video_mme(path, entries=None):
    file = path / "videomme/test-00000-of-00001.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    entries = entries or [
        video_mme_entry(n, duration) for n, duration in enumerate(("short", "medium", "long"))
    ]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


WRITERS = {
    "mlvu": write_mlvu,
    "ovo-bench": write_ovo,
    "qaego4d": write_qaego4d,
    "rvs-ego": write_vstream,
    "rvs-movie": write_vstream,
    "streaming-bench": write_streaming_bench,
    "streaming-bench-all-context": write_streaming_bench,
    "video-mme": write_video_mme,
    "vs-ego": write_vstream,
    "vs-movie": write_vstream,
}


def hand_made(name, path):
    """The benchmark and its hand-made items."""
    benchmark = make_benchmark(name)
    return benchmark, benchmark.load(WRITERS[name](path))


def published(rows):
    """By row: the published number, rounded; None without one."""
    return {row.name: row.published and round(row.published.mean, 4) for row in rows}


def strict(rows):
    return {row.name: row.strict and round(row.strict.mean, 4) for row in rows}


def score_all(benchmark, items, *texts):
    """The outcomes of the items, each answered with one of the texts."""
    return [benchmark.score(item, (text,)) for item, text in zip(items, texts, strict=True)]
