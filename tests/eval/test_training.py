from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TokenizersBackend

from eval.training.data import StreamBatch, StreamBatches
from eval.training.evaluate import Options, evaluate, majority_answers, report
from eval.training.objectives import attention_mask
from eval.training.plain_model import PlainModel
from eval.training.presets import FRAME_TOKENS, PRESETS, Preset
from eval.training.train import StepLog, Trainer
from vstream.weights import embedded_weights

TINY = PRESETS["tiny"]


def train(preset: Preset, out: Path, minutes: float = 5.0) -> tuple[Trainer, list[StepLog]]:
    logs: list[StepLog] = []
    trainer = Trainer(preset, seed=0, out=out)
    trainer.run(minutes, logs.append)
    return trainer, logs


@pytest.fixture(scope="module")
def stream_batch() -> StreamBatch:
    tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
    return StreamBatches(replace(TINY, streams=3, stream_s=24), 0, tokenizer)[0]


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


def test_a_finished_run_is_an_ordinary_checkpoint(finished: tuple[Path, list[StepLog]]) -> None:
    out, _ = finished
    options = Options(out, 1, 7, 6, "train", ("fluent",), through_video=False)
    rows = report(evaluate(options))
    assert rows["all"]["questions"] == 6
    assert PlainModel(out).model.config.vstream_family == "embedded"


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    short = replace(TINY, vision_steps=2, stream_steps=2)
    straight, _ = train(short, tmp_path / "straight")
    for _ in range(4):  # out of time after each step
        stopped, logs = train(short, tmp_path / "stopped", minutes=0.0)
        assert len(logs) == 1
    for name, weight in straight.model.state_dict().items():
        torch.testing.assert_close(stopped.model.state_dict()[name], weight, msg=name)


def test_a_question_sees_itself_its_frames_and_nothing_later(stream_batch: StreamBatch) -> None:
    allowed = attention_mask(stream_batch)
    num_frames = stream_batch.frame_positions.shape[1]
    num_before = 1 + num_frames * FRAME_TOKENS
    for stream in range(len(allowed)):
        for token, owner in enumerate(stream_batch.owner[stream].tolist()):
            row = allowed[stream, num_before + token]
            if owner < 0:
                continue
            frames = row[1:num_before].view(num_frames, FRAME_TOKENS)
            assert torch.equal(frames.all(1), stream_batch.visible[stream, owner])
            assert not frames[stream_batch.asked[stream, owner] + 1 :].any()
            seen_owners = stream_batch.owner[stream][row[num_before:]]
            assert set(seen_owners.tolist()) == {owner}
            assert not row[num_before + token + 1 :].any()


def test_frames_see_only_their_window(stream_batch: StreamBatch) -> None:
    batch = replace(stream_batch, window=torch.full_like(stream_batch.window, 2))
    last = attention_mask(batch)[0, 1 + 10 * FRAME_TOKENS]
    seen = last[1 : 1 + 24 * FRAME_TOKENS].view(24, FRAME_TOKENS).any(1)
    assert seen.nonzero().flatten().tolist() == [9, 10]


def test_evidence_is_past_and_visible(stream_batch: StreamBatch) -> None:
    assert stream_batch.evidence.any()
    is_future = torch.arange(24) > stream_batch.asked[..., None]
    assert not (stream_batch.evidence & is_future).any()
    assert not (stream_batch.visible & is_future).any()
    has_evidence = stream_batch.evidence.any(-1)
    shown = (stream_batch.evidence & stream_batch.visible).any(-1)
    assert torch.equal(shown, has_evidence)


def test_the_majority_answer_of_a_yes_or_no_question_is_yes_or_no() -> None:
    assert majority_answers(0, 20)["exist"] in ("yes", "no")
