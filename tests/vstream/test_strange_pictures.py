"""The embedded model knows when a picture is not of its world, and who asks is told."""

import os
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from command_line import vstream
from processes import until
from service import embedded, running_service
from strange_pictures import SOURCES, drawn_by_ffmpeg, photos, write_test_clip

from app.page.chat_part import note_of
from encoders import Frame, thumbnail
from encoders.own_world import OwnWorld
from eval.real_pictures.strange import asked_about
from eval.stream_world import SEEN_STYLES, Renderer, write_script
from eval.stream_world.vocabulary import HELD_OUT_STYLE
from vstream import Alert, Finding, MomentSearch, Question, load_config, open_session
from vstream.decoding.token_choice import Decoding
from vstream.models.weights import embedded_weights
from vstream.sources.address import stream_id_of
from vstream.strange_pictures import with_warning

SAID = "This model knows drawings only; this picture is not of its world."
UNSEEN = (
    "This model knows drawings only; no picture of that time is kept to tell whether it is of its "
    "world."
)


def frames(pictures):
    return [Frame(pixels, float(at), float(at)) for at, pixels in enumerate(pictures)]


def thumbnails(pictures):
    return [thumbnail(one) for one in frames(pictures)]


def own_pictures(seed, seconds, styles=SEEN_STYLES, side_px=128):
    drawn = Renderer(side_px)
    return [drawn.frame(one) for one in write_script(seed, seconds, styles).moments]


@pytest.fixture(scope="module")
def strange():
    with open_session(load_config(), embedded(), "strange") as session:
        session.push(frames(drawn_by_ffmpeg("testsrc2", 8)))
        session.catch_up()
        yield session


def test_of_its_own_world_fewer_than_2_in_100_are_strange_and_of_a_style_never_seen_too():
    for styles, first in ((SEEN_STYLES, 5000), ((HELD_OUT_STYLE,), 5100)):
        pictures = [
            one for seed in range(first, first + 4) for one in own_pictures(seed, 40, styles)
        ]
        assert sum(embedded().family.are_strange(pictures)) < 0.02 * len(pictures)


@pytest.mark.parametrize("source", SOURCES)
def test_what_ffmpeg_draws_is_strange(source):
    assert all(embedded().family.are_strange(drawn_by_ffmpeg(source, 4)))


def test_photos_are_strange():
    shown = photos()
    told = dict(zip(shown, embedded().family.are_strange(list(shown.values())), strict=True))
    assert len(told) >= 4
    assert all(told.values()), told


def test_it_is_beside_the_weights_and_written_as_it_is_read(tmp_path):
    world = OwnWorld.read(embedded_weights())
    world.write(tmp_path / "world.npz")
    again = OwnWorld.read(tmp_path)
    assert again.threshold == pytest.approx(world.threshold)
    assert (again.direction == world.direction).all()
    assert OwnWorld.read(tmp_path / "nowhere") is None


def test_where_no_picture_is_kept_any_more_it_is_not_known_and_said():
    def answered(session):
        stream = session.ask("what do you see?")
        list(stream)
        return stream.answer

    with open_session(load_config(), embedded(), "gone") as session:
        session.push(frames(own_pictures(5000, 8)))
        assert answered(session).strange is None
        memory, ids = session.memory, session.memory.visible(None)
        memory._policy = replace(memory._policy, picture_bytes=0)
        memory.age()
        assert not any(memory.thumbnails(ids))
        assert answered(session).strange is None, "they were looked at while they were there"
        memory.facts.drop(ids)
        answer = answered(session)
        assert answer.strange == UNSEEN
        assert answer.text.endswith(UNSEEN)
        assert answer.document()["unsure"] is True
        finding = Finding({"it": session}, "there is a dog")
        list(finding)
        assert finding.strange == {"it": UNSEEN}


def test_an_answer_says_so_in_its_words_and_is_unsure(strange):
    for text in ("is there a rabbit?", "what do you see?", "how many dogs are there now?"):
        stream = strange.ask(text)
        pieces = "".join(stream)
        answer = stream.answer
        assert pieces == answer.text
        assert answer.text.endswith(SAID)
        assert answer.text != SAID
        document = answer.document()
        assert document["unsure"] is True
        assert document["unsure_because"] == document["strange"] == SAID
        assert document["confidence"] == 0


def test_nothing_is_added_to_json_but_it_is_unsure(strange):
    decoding = Decoding(
        schema='{"type": "object", "properties": {}, "additionalProperties": false}'
    )
    answer = strange.ask(Question("what do you see?", decoding=decoding)).answer
    assert SAID not in answer.text
    assert answer.is_unsure


def test_of_its_own_world_nothing_is_said():
    with open_session(load_config(), embedded(), "own") as session:
        session.push(frames(own_pictures(5200, 10)))
        session.catch_up()
        answer = session.ask("what do you see?").answer
    assert answer.strange is None
    assert SAID not in answer.text
    assert answer.confidence > 0


def test_when_the_newest_picture_is_strange_it_is_told_at_once():
    with open_session(load_config(), embedded(), "mixed") as session:
        session.push(frames([*own_pictures(5200, 10), *drawn_by_ffmpeg("testsrc2", 1)]))
        session.catch_up()
        assert session.ask("what do you see?").answer.strange == SAID
        assert session.ask(Question("what do you see?", at_s=9.0)).answer.strange is None


def test_no_alert_fires_over_them_however_sure_the_model_is(strange):
    fed = []
    rule = SimpleNamespace(feed=lambda p, at: fed.append(p) or p > 0)
    alert = Alert(strange, "tell me when you see a dog", rule)
    assert [alert.look(float(at)) for at in range(8)] == [None] * 8
    assert fed == [0.0] * 8
    assert alert.strange == SAID


def test_find_says_so(strange):
    finding = Finding({"it": strange}, "there is a dog")
    list(finding)
    assert finding.document()["strange"] == {"it": SAID}


def test_the_benchmark_counts_answers_that_are_bare_and_alerts_that_fire():
    assert asked_about(embedded(), "ffmpeg", frames(drawn_by_ffmpeg("testsrc2", 3))) == (
        *(24, 0, 0),
        *(9, 0),
    )
    _, bare, sure, *_ = asked_about(embedded(), "own", frames(own_pictures(5200, 3)))
    assert bare > sure > 0


def test_a_search_says_of_each_hit_whether_its_picture_is_strange():
    pictures = [*own_pictures(5200, 20), *drawn_by_ffmpeg("testsrc2", 4)]
    with open_session(load_config(), embedded(), "mixed") as session:
        session.push(frames(pictures))
        search = MomentSearch(embedded())
        search.add("mixed", session.memory)
        assert {one.strange for one in search.search("a dog", to_s=19.0)} == {None}
        assert {one.strange for one in search.search("a dog", from_s=20.0)} == {SAID}


def test_a_stored_stream_that_is_asked_later_says_so_on_the_command_line(tmp_path):
    clip = write_test_clip(tmp_path / "clip.mp4")
    store = ("--store", f"file://{tmp_path}/store")
    assert vstream("ingest", clip, *store).code == 0
    stream = stream_id_of(str(clip))
    run = vstream("ask", stream, "is there a rabbit?", "--json", *store)
    assert run.document["answer"].endswith(SAID)
    assert run.document["unsure_because"] == SAID
    assert f"unsure: {SAID}" in vstream("ask", stream, "is there a rabbit?", *store).err
    found = vstream("search", "a rabbit", "--json", *store).document["moments"]
    assert {one["strange"] for one in found} == {SAID}
    assert f"of {len(found)}. {SAID}" in vstream("search", "a rabbit", *store).err


def test_the_service_its_alerts_and_the_page_say_so(tmp_path):
    clip = write_test_clip(tmp_path / "clip.mp4")
    source = {"url": str(clip), "speed": "max"}
    with running_service(streams=[{"id": "door", "source": source}]) as service:
        service.await_state("door", "ended")
        answer = service.ask("is there a rabbit?", "stream://door")
        assert SAID in answer["choices"][0]["message"]["content"]
        (told,) = answer["vstream"]
        assert (told["unsure"], told["unsure_because"], told["confidence"]) == (True, SAID, 0)
        assert note_of(answer["vstream"])[1] == "unsure"


def test_an_alert_on_a_strange_stream_says_in_its_state_why_it_does_not_fire():
    wanted = {"source": {"type": "push"}, "sampling": {"fps": 1, "dedup": 0}}
    began_at = time.time() - 600
    with running_service() as service:
        service.post("/v1/streams", {"id": "door", **wanted})
        alert = {"stream_ids": ["door"], "condition": "tell me when you see a dog"}
        path = f"/v1/alerts/{service.post('/v1/alerts', alert)['id']}"
        for second, jpeg in enumerate(thumbnails(drawn_by_ffmpeg("testsrc2", 4))):
            headers = {"X-Capture-Time": str(began_at + second)}
            service.http.post("/v1/streams/door/frames", content=jpeg, headers=headers)
            until(lambda: service.get(path)["judged"] > second)  # noqa: B023
        told = service.get(path)
        (answer,) = service.ask("what do you see?", "stream://door")["vstream"]
    assert (told["fired"], told["error"]) == (0, SAID)
    assert answer["newest_frame_age_s"] > 590


def test_an_answer_about_an_old_picture_says_so_in_a_line_of_its_own(tmp_path):
    clip = write_test_clip(tmp_path / "clip.mp4", seconds=2)
    os.utime(clip, (time.time() - 3 * 3600,) * 2)
    assert "\nthe newest frame was captured 3 h ago\n" in vstream("ask", clip, "what is it?").err
    os.utime(clip)
    assert "newest frame was captured" not in vstream("ask", clip, "what is it?").err


def test_the_sentence_stands_behind_whatever_was_said():
    assert with_warning("no", SAID) == f"no. {SAID}"
    assert with_warning("I see it.", SAID) == f"I see it. {SAID}"
    assert with_warning("", SAID) == SAID
