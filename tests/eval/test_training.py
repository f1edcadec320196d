import json
import shutil
from argparse import Namespace
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from plain_model import PlainModel
from torch import Tensor, nn
from train_together import TrainTogether
from transformers import TokenizersBackend

from encoders import Frame
from eval.stream_world import Renderer, write_script
from eval.stream_world.vocabulary import clock
from eval.training.checkpoint import condensed, read_state, restore, write_state
from eval.training.command import RUN, _require_same_run
from eval.training.frames import MOTIONS, UNKNOWN, frame_batch, known_names
from eval.training.objectives import FrameHeads, ReaderExtra, TrainingReader
from eval.training.parallel import Share, run_parallel
from eval.training.presets import PRESETS, SHAPES, Preset, fresh_model, streams_number
from eval.training.steps import PaddedQuestions, QuestionsStep, WordingsStep
from eval.training.streams import StreamBatch, StreamBatches
from eval.training.train import StepLog, Trainer, visual_tokens
from eval.training.wordings import ASKED_KINDS, Meaning, draw_wording
from vstream import load_config, load_video_llm, open_session
from vstream.engine.retrieval import view_at
from vstream.models.weights import embedded_weights

TINY = PRESETS["tiny"]
STREAM_S = 48


def train(preset: Preset, out: Path, minutes: float = 5.0) -> tuple[Trainer, list[StepLog]]:
    logs: list[StepLog] = []
    trainer = Trainer(preset, seed=0, out=out)
    trainer.run(minutes, logs.append)
    return trainer, logs


@pytest.fixture(scope="module")
def stream_batch() -> StreamBatch:
    tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
    return StreamBatches(replace(TINY, streams=3, stream_s=24), 0, tokenizer, Share())[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepLog]]:
    out = tmp_path_factory.mktemp("run")
    return out, train(TINY, out)[1]


def test_both_phases_reduce_their_loss(finished: tuple[Path, list[StepLog]]) -> None:
    _, logs = finished
    vision, stream = logs[: TINY.vision_steps], logs[TINY.vision_steps :]
    assert len(stream) == TINY.stream_steps
    assert vision[-1].auxiliary < 0.8 * vision[0].auxiliary
    assert stream[-1].answer < 0.9 * stream[0].answer
    assert stream[-1].events < stream[0].events


def test_a_finished_run_is_an_ordinary_checkpoint(finished: tuple[Path, list[StepLog]]) -> None:
    out, _ = finished
    assert PlainModel(out).model.config.vstream_family == "embedded"
    model, renderer = load_video_llm(str(out)), Renderer()
    moments = write_script(7, 5).moments
    with open_session(load_config(), model, "finished") as session:
        session.push([Frame(renderer.frame(m), float(m.time_s), 0.0) for m in moments])
        assert session.ask("what do you see now?").answer.evidence


@pytest.mark.parametrize(
    "changes",
    [{}, {"vision_rate": 0.0, "turns": 4, "apart": 1}],
    ids=["ordinary", "a tower that looks once"],
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    tmp_path: Path, changes: dict[str, float]
) -> None:
    short = replace(TINY, vision_steps=3, stream_steps=3, save_every=2, **changes)
    straight, _ = train(short, tmp_path / "straight")
    for _ in range(3):  # out of time each time it saves
        stopped, logs = train(short, tmp_path / "stopped", minutes=0.0)
        assert len(logs) == 2
    for name, weight in straight.model.state_dict().items():
        assert torch.equal(stopped.model.state_dict()[name], weight), name


def test_a_run_begins_with_the_heads_of_another(
    tmp_path: Path, finished: tuple[Path, list[StepLog]]
) -> None:
    def heads(trainer: Trainer) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": weight
            for name, module in trainer._modules().items()
            for key, weight in module.state_dict().items()
            if name != "model"
        }

    out, _ = finished
    others, fresh = heads(Trainer(TINY, 0, out)), Trainer(TINY, 1, tmp_path / "fresh")
    taken = Trainer(TINY, 1, tmp_path / "taken", heads_from=out)
    assert any(not torch.equal(others[key], weight) for key, weight in heads(fresh).items())
    assert all(torch.equal(others[key], weight) for key, weight in heads(taken).items())
    for key, weight in taken.model.state_dict().items():
        assert torch.equal(weight, fresh.model.state_dict()[key]), key
    with pytest.raises(ValueError, match="no state of a run"):
        Trainer(TINY, 1, tmp_path / "none", heads_from=tmp_path)


@pytest.mark.parametrize("option", ["start_from", "heads_from"])
def test_a_folder_goes_on_only_from_what_its_run_began_with(tmp_path: Path, option: str) -> None:
    def described(**changes: Path | None) -> str:
        options = {"preset": "tiny", "seed": 0, "processes": 1, "out": tmp_path / "out"}
        begun = {"start_from": None, "heads_from": None, **changes}
        _require_same_run(Namespace(**options, **begun))
        return (tmp_path / "out" / RUN).read_text()

    for number, name in enumerate("ab"):
        write_state(tmp_path / name, {"step": torch.tensor(number)})
    one, other = tmp_path / "a", tmp_path / "b"
    first = described(**{option: one})
    assert described(**{option: one.rename(tmp_path / "moved")}) == first
    for changed in (other, None):
        with pytest.raises(SystemExit, match="holds the run"):
            described(**{option: changed})
    with pytest.raises(SystemExit, match=f"--{option.replace('_', '-')}: there is no folder"):
        described(**{option: one})
    shutil.rmtree(tmp_path / "out")
    fresh = described()
    assert set(json.loads(fresh)) == {"preset", "seed", "processes"}
    with pytest.raises(SystemExit, match="holds the run"):
        described(**{option: other})


def test_an_interrupted_write_leaves_the_last_state(tmp_path: Path) -> None:
    write_state(tmp_path, {"step": torch.tensor(3), "a": torch.ones(2)})
    (tmp_path / "state-000004-1-of-2.safetensors").write_bytes(b"whole")
    (tmp_path / "state-000004-2-of-2.safetensors.partial").write_bytes(b"cut off")
    state = read_state(tmp_path, "cpu")
    assert state is not None
    assert int(state["step"]) == 3


def test_the_state_of_the_embedded_model_is_small(tmp_path: Path) -> None:
    modules = {
        "model": fresh_model(SHAPES["embedded"], 1244),
        "heads": FrameHeads(SHAPES["embedded"].width),
        "reader": ReaderExtra(SHAPES["embedded"].width),
    }
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    write_state(tmp_path, condensed(1, modules, optimizer))
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) <= 15_000_000
    assert sum(sizes) <= 40_000_000


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    train(replace(TINY, vision_steps=1, stream_steps=0), tmp_path)
    larger = replace(TINY, shape=replace(TINY.shape, layers=3))
    with pytest.raises(ValueError, match="another folder"):
        Trainer(larger, 0, tmp_path)


def test_a_state_keeps_weights_and_moments_but_for_rounding() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
    other = nn.Linear(8, 8)
    fresh = torch.optim.AdamW(other.parameters())
    state = condensed(3, {"m": model}, optimizer)
    assert restore(state, {"m": other}, fresh) == 3
    torch.testing.assert_close(other.weight, model.weight, rtol=1e-3, atol=1e-4)
    was, now = optimizer.state[model.weight], fresh.state[other.weight]
    largest = float(was["exp_avg"].abs().max())
    torch.testing.assert_close(now["exp_avg"], was["exp_avg"], rtol=0.07, atol=0.01 * largest)
    torch.testing.assert_close(
        now["exp_avg_sq"].sqrt(), was["exp_avg_sq"].sqrt(), rtol=0.15, atol=0
    )


@pytest.fixture(scope="module")
def watched() -> tuple[TrainingReader, list[tuple[Tensor, Tensor]], list[Frame]]:
    """The embedded model having read a stream as in training, and the frames of that stream."""
    weights, renderer = PlainModel(embedded_weights()), Renderer()
    moments = write_script(5, STREAM_S).moments
    frames = [Frame(renderer.frame(m), float(m.time_s), 0.0) for m in moments]
    pixels = torch.stack([torch.from_numpy(f.pixels.copy()).permute(2, 0, 1) for f in frames])
    times = [clock(moment.time_s) for moment in moments]
    ids = torch.tensor(weights.tokenizer(times, add_special_tokens=False).input_ids)
    preset = replace(PRESETS["gpu"], stream_s=STREAM_S)
    reader = TrainingReader(weights.model, preset)
    with torch.no_grad():
        memory, _ = reader.read(ids, visual_tokens(weights.model, pixels.float() / 127.5 - 1))
    return reader, memory, frames


@pytest.mark.parametrize(("recent", "retrieve"), [(16, 8), (8, 16), (32, 32)])
def test_training_reads_and_asks_exactly_as_the_engine_does(
    watched: tuple[TrainingReader, list[tuple[Tensor, Tensor]], list[Frame]],
    recent: int,
    retrieve: int,
) -> None:
    reader, memory, frames = watched
    settings = {"recent_frames": recent, "retrieve_blocks": retrieve}
    config = load_config(memory={"codec": "exact"}, engine=settings)
    model = load_video_llm(None)
    text = "<|user|>when did the star first appear?<|assistant|>"
    tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
    ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
    asked_frames = (47, 30, 3)
    own = torch.ones(len(asked_frames), len(ids), dtype=torch.bool)
    own[:, [0, -1]] = False
    asked = PaddedQuestions(
        own=own,
        frame=torch.tensor(asked_frames),
        first=torch.zeros(len(asked_frames), dtype=torch.long),
        wanted=torch.zeros(len(asked_frames), STREAM_S, dtype=torch.bool),
    )
    step = QuestionsStep(reader.rope, memory, asked, recent, retrieve)
    with torch.no_grad():
        logits = reader.ask(ids.repeat(len(asked_frames)), step).unflatten(0, own.shape)
    with open_session(config, model, "engine") as session:
        session.push(frames)
        for layer, (keys, values) in enumerate(memory):
            kept = session.memory.read(layer, range(STREAM_S), torch.float32, model.decoder.device)
            torch.testing.assert_close(keys[:, 1:], kept[0], rtol=0, atol=5e-5)
            torch.testing.assert_close(values[:, 1:], kept[1], rtol=0, atol=5e-5)
        for row, at_s in enumerate(asked_frames):
            view = view_at(session.memory, float(at_s), recent)
            tokens = model.family.question("when did the star first appear?")
            wanted = session.questions.run(tokens, view).logits
            torch.testing.assert_close(logits[row], wanted, rtol=0, atol=2e-4)


def test_a_question_without_a_stream_is_read_as_plain_text() -> None:
    weights = PlainModel(embedded_weights())
    texts = ["<|bos|><|user|>is there a cat?<|assistant|>", "<|bos|><|user|>where?<|assistant|>"]
    rows = [torch.tensor(weights.tokenizer(t, add_special_tokens=False).input_ids) for t in texts]
    with torch.no_grad():
        wanted = [weights.model(input_ids=row[None]).logits[0] for row in rows]
        reader = TrainingReader(weights.model, PRESETS["gpu"])
        text = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        step = WordingsStep(reader.rope, len(text), text.shape[1], start=0)
        logits = reader.ask(text.flatten(), step).unflatten(0, text.shape)
    for found, plain in zip(logits, wanted, strict=True):
        torch.testing.assert_close(found[: len(plain)], plain, rtol=0, atol=1e-4)


def test_a_wording_names_what_it_is_about() -> None:
    rng, names = Random(3), ("owl", "cat", "star")
    drawn = [draw_wording(rng, names) for _ in range(400)]
    assert {kind for _, kind, _ in drawn} == set(ASKED_KINDS)
    for text, _, about in drawn:
        assert all(name in text for name in about)
    meaning = Meaning.of([(kind, about) for _, kind, about in drawn])
    for row, (_, _, about) in enumerate(drawn):
        named = {known_names()[i] for i in meaning.names[row].nonzero().flatten().tolist()}
        assert named == set(about)


@pytest.mark.parametrize(("turns", "apart"), [(1, 1), (4, 16), (3, 2)])
def test_every_stream_gets_its_turns(turns: int, apart: int) -> None:
    preset = replace(TINY, turns=turns, apart=apart)
    numbers = [streams_number(preset, step) for step in range(3 * turns * apart)]
    for number in range(3 * apart):
        steps = [step for step, asked in enumerate(numbers) if asked == number]
        assert len(steps) == turns
        assert {b - a for a, b in pairwise(steps)} <= {apart}


def test_a_stream_that_is_asked_again_is_the_same_stream(tmp_path: Path) -> None:
    preset = replace(TINY, turns=2, apart=1, vision_rate=0.0)
    tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
    batches = StreamBatches(preset, 0, tokenizer, Share())
    first, again, other = batches[0], batches[1], batches[2]
    assert torch.equal(first.frames.pixels, again.frames.pixels)
    assert not torch.equal(first.frames.pixels, other.frames.pixels)
    assert first.text.tolist() != again.text.tolist()


def test_evidence_is_past_and_in_the_questions_own_stream(stream_batch: StreamBatch) -> None:
    assert stream_batch.evidence.any()
    frame = torch.arange(stream_batch.evidence.shape[1])
    outside = (frame > stream_batch.frame[:, None]) | (frame < stream_batch.first[:, None])
    for marked in (stream_batch.evidence, stream_batch.related, stream_batch.wanted):
        assert not (marked & outside).any()
    assert (stream_batch.evidence & ~stream_batch.related).sum() == 0


def test_a_step_trains_on_nothing_but_answers(stream_batch: StreamBatch) -> None:
    tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
    for text, label, own in zip(
        stream_batch.text, stream_batch.label, stream_batch.own, strict=True
    ):
        answer = tokenizer.decode(label[label != UNKNOWN])
        assert answer.endswith("<|end|>")
        assert tokenizer.decode(text[text > 0]).endswith(answer)
        question = tokenizer.decode(text[own])
        assert "<|" not in question
        assert tokenizer.decode(text[text > 0]) == f"<|user|>{question}<|assistant|>{answer}"


def test_what_came_and_went_is_told_of_the_frame_where_it_happens() -> None:
    moments = write_script(11, 40).moments
    batch = frame_batch(moments, Renderer(48))
    names = known_names()
    changes = 0
    for index in range(1, len(moments)):
        before = {item.name for item in moments[index - 1].items}
        now = {item.name for item in moments[index].items}
        came = {names[i] for i in batch.came[index].any(0).nonzero().flatten().tolist()}
        went = {names[i] for i in batch.went[index].nonzero().flatten().tolist()}
        assert (came, went) == (now - before, before - now)
        changes += len(came) + len(went)
    assert changes > 5


def test_motion_is_told_of_the_cell_where_the_object_is_now() -> None:
    moments = write_script(12, 200).moments
    told = frame_batch(moments, Renderer(48)).motion
    num_moving = 0
    for index in range(1, len(moments)):
        for item in moments[index].items:
            earlier = moments[index - 1].find(item.name)
            cell = int(item.y * 3) * 3 + int(item.x * 3)
            if earlier is None or told[index, cell] == UNKNOWN:
                continue
            right, down = item.x - earlier.x, item.y - earlier.y
            direction = MOTIONS[int(told[index, cell])]
            assert {"left": right < 0, "right": right > 0, "up": down < 0, "down": down > 0}.get(
                direction, abs(right) < 0.01 and abs(down) < 0.01
            )
            num_moving += direction != "still"
    assert num_moving > 10


def test_two_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    run_parallel(2, TrainTogether(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_vision_tower_can_be_left_as_it_is(tmp_path: Path) -> None:
    frozen = replace(TINY, vision_steps=0, stream_steps=1, vision_rate=0.0)
    torch.manual_seed(0)
    trainer = Trainer(frozen, seed=0, out=tmp_path)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run(5.0, lambda log: None)
    changed = {
        k
        for k, v in trainer.model.state_dict().items()
        if not torch.equal(v.half(), before[k].half())
    }
    assert changed
    assert not any("vision_model" in name for name in changed)
