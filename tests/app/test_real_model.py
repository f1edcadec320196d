"""A model of real scenes that fits the machine is named where the embedded one says its limits."""

import pytest
from command_line import vstream
from service import running_service
from synthetic_video import write_video

from vstream.models.known_models import KNOWN, fitting, known_model

SMALLEST = min(KNOWN, key=lambda one: one.parameters)


def test_a_card_takes_the_largest_that_fits_and_a_cpu_the_smallest():
    assert fitting(80 << 30, 8 << 30).parameters == max(one.parameters for one in KNOWN)
    assert fitting(12 << 30, 8 << 30).name == "qwen2.5-vl-3b"
    assert fitting(1 << 30, 64 << 30) is None
    assert fitting(None, 64 << 30) is SMALLEST
    assert fitting(None, 1 << 30) is None


def test_a_known_model_is_known_by_both_its_names():
    for known in KNOWN:
        assert known_model(known.hub_id) is known is known_model(known.name)
    assert known_model(None) is known_model("embedded") is None


@pytest.fixture(params=[16 << 30, 1 << 30], ids=["room", "no room"])
def has_room(request, monkeypatch):
    class Memory:
        available = request.param

    monkeypatch.setattr("app.real_model.psutil.virtual_memory", Memory)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return request.param > 8 << 30


def test_the_first_answer_and_doctor_name_it(has_room, tmp_path):
    video = write_video(tmp_path / "clip.mp4", num_frames=20, fps=10)
    command = f"vstream pull {SMALLEST.hub_id}"
    assert (command in vstream("ask", video, "what do you see?").err) == has_room
    typed = vstream("ask", video, "--fast", stdin="what is it?\nwhat is it now?\n").err
    assert typed.count(command) == has_room, "once"


def test_the_service_tells_its_page(has_room):
    with running_service() as service:
        [told, _] = service.get("/v1/models")["data"]
    assert (told["real_model"] is not None) == has_room
    assert not has_room or SMALLEST.hub_id in told["real_model"]
