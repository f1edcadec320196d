"""The demo plays its script without a terminal and calls right right and wrong wrong."""

import json
from importlib.resources import files

from command_line import vstream


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
    assert right > run.err.count("wrong: the stream shows")
