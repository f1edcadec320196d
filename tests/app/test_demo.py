"""The demo plays its script without a terminal and calls right right and wrong wrong."""

import json
from importlib.resources import as_file, files

from command_line import vstream

from eval.stream_world import write_script
from vstream import Question, load_config, load_video_llm, open_session
from vstream.ingest import IngestWorker


def test_the_demo_plays_its_script_and_ends():
    run = vstream("demo")
    assert run.code == 0, run.err
    script = json.loads((files("app") / "assets" / "sample_stream.json").read_text())["questions"]
    for entry in script:
        assert entry["question"] in run.err
    verdicts = run.err.count("right: the stream shows") + run.err.count("wrong: the stream shows")
    assert verdicts == len(script)
    answers = run.out.strip().splitlines()
    assert len(answers) == len(script)


def test_the_embedded_model_is_right_about_most_of_the_sample():
    run = vstream("demo")
    right = run.err.count("right: the stream shows")
    assert right >= 4 * run.err.count("wrong: the stream shows")


def test_the_best_evidence_shows_the_thing_asked_about():
    script = json.loads((files("app") / "assets" / "sample_stream.json").read_text())
    seed = int(script["command"].split("--seed ")[1].split()[0])
    moments = write_script(seed, script["length_s"]).moments
    model = load_video_llm(None)
    shown = asked = 0
    with as_file(files("app") / "assets" / "sample_stream.mp4") as video:
        session = open_session(load_config(), model, "sample")
        IngestWorker(session, str(video), load_config().source).run()
        for entry in script["questions"]:
            seen = [entry["names"]] if entry["evidence_s"] and entry["names"] else []
            for names in seen:
                stream = session.ask(Question(entry["question"], float(entry["asked_s"])))
                best = moments[int(stream.evidence[0].start_s)]
                shown += any(best.find(name) for name in names)
                asked += 1
                assert stream.evidence[0].thumbnail.startswith(b"\xff\xd8")
    assert asked >= 6
    assert shown >= asked - 1
