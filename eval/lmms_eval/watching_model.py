"""WatchingModel: answers the questions of lmms-eval's tasks from sessions that watch their videos.

Questions about one video from the same moment on share a session, as in our own benchmarks
(`eval/play/player.py`). Each is put when the session has seen what its message shows and no frame
more: up to `end_time` (lmms_eval.protocol) or `video_end`, else to the end. Then the video goes on.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages, ChatVideoContent
from loguru import logger

from eval.command_line import progress_bar
from eval.play.contender import DEFAULT, parse_contenders
from eval.play.play_all import tasks_of
from eval.play.player import Player
from eval.play.plays import Prompt, TimeSpan, VideoQuestion, plan
from eval.play.records import ANSWERS, RecordLine, Report
from eval.play.settings import PlaySettings
from vstream import SettingsError, load_config, load_video_llm

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Put:
    """A question as a task puts it, and how its answer is generated."""

    asked: VideoQuestion
    generation: Mapping[str, Any]


class WatchingModel(lmms):  # type: ignore[misc]  # it may not be installed
    is_simple = False  # a task gives it messages, which say when a video starts and ends

    def __init__(
        self,
        pretrained: str | None = None,
        fps: float | None = None,
        device: str | None = None,
        batch_size: int = 1,
        max_batch_size: int | None = None,
        **contender: Any,
    ) -> None:
        """`pretrained` is a checkpoint's directory or a hub id; None: VSTREAM_MODEL or the embedded
        model. `fps` None is its own rate. `contender` is who answers, as for
        `python -m eval questions --contender`: `policy=NAME,codec=NAME,...`. `batch_size` has no
        effect. Raises SettingsError and ModelError.
        """
        super().__init__()
        named = {"model": pretrained, "device": device}
        self._config = config = load_config(
            source={"sample_fps": fps, "dedup_threshold": 0},
            **{name: told for name, told in named.items() if told is not None},
        )
        told = {"policy": DEFAULT, **contender}
        contenders = parse_contenders([",".join(f"{key}={told[key]}" for key in told)])
        if len(contenders) != 1:
            raise SettingsError(f"vstream: policy {told['policy']!r} is many: name one")
        self._contenders = contenders
        self._model = load_video_llm(config.model, config.device, config.dtype, fps)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("vstream generates answers; it rates none that it is given")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer all requests. One whose document has `query_times`, in seconds, is asked at each
        of them, and its answer is a JSON list. One that fails is empty, and the log says why.
        """
        puts, lists = [], set[int]()
        for number, request in enumerate(requests):
            _, to_messages, generation, doc_id, task, split = request.args
            document = self.task_dict[task][split][doc_id]
            asked = asked_of(str(number), to_messages(document))
            if times := document.get("query_times"):
                start_s = asked.spans[0].start_s
                spans = tuple(TimeSpan(start_s, float(time_s)) for time_s in sorted(times))
                asked = replace(asked, spans=spans)
                lists.add(number)
            puts.append(_Put(asked, generation))
        return [
            json.dumps(said) if number in lists else said[0]
            for number, said in enumerate(self._answer(puts))
        ]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """Answer round by round: a task makes the next of what was answered before. A round without
        a video is about that of the round before.
        """
        rounds = [_Rounds(self.task_dict, request) for request in requests]
        while going := [one for one in rounds if one.messages is not None]:
            puts = [
                _Put(one.asked(str(number)), one.generation) for number, one in enumerate(going)
            ]
            for one, said in zip(going, self._answer(puts), strict=True):
                one.go_on(said[0])
        return [one.said for one in rounds]

    def _answer(self, puts: Sequence[_Put]) -> list[list[str]]:
        """Return for each question what was answered, time by time."""
        said: dict[str, list[str]] = {}
        by_generation: dict[str, list[_Put]] = {}
        for put in puts:
            by_generation.setdefault(repr(sorted(put.generation.items())), []).append(put)
        with progress_bar() as progress:
            bar = progress.add_task("asking", total=len(puts))

            def take(line: RecordLine) -> None:
                file, document = line
                if file.startswith(ANSWERS):
                    said[document["id"]] = [text or "" for text in document["texts"]]
                    for error in filter(None, (one["error"] for one in document["said"])):
                        logger.error(f"vstream: {error}")
                    progress.advance(bar)

            for together in by_generation.values():
                self._play([put.asked for put in together], together[0].generation, take)
        untils = [_until(put.generation) for put in puts]
        return [
            [_cut(text, until) for text in said[put.asked.id]]
            for put, until in zip(puts, untils, strict=True)
        ]

    def _play(
        self,
        asked: Sequence[VideoQuestion],
        generation: Mapping[str, Any],
        take: Report,
    ) -> None:
        temperature = generation.get("temperature") if generation.get("do_sample", True) else 0
        settings = PlaySettings(
            self._config, generation.get("max_new_tokens"), temperature=float(temperature or 0)
        )
        player = Player(self._model, settings, take)
        for task in tasks_of(plan(asked), self._contenders, lambda one: (), settings, self._model):
            player.play(task)


class _Rounds:
    """The rounds of one request; its `messages` are None once it has no more."""

    def __init__(self, documents: Mapping[str, Any], request: Instance) -> None:
        _, self._to_messages, self.generation, doc_id, task, split = request.args
        self._document = documents[task][split][doc_id]
        self.messages: Messages | None = self._to_messages(self._document)
        self.said: list[str] = []
        self._info: Any = None
        self._before: VideoQuestion | None = None

    def asked(self, name: str) -> VideoQuestion:
        assert self.messages is not None
        self._before = asked_of(name, self.messages, self._before)
        return self._before

    def go_on(self, said: str) -> None:
        """Take the answer of this round and ask the task for the next."""
        self.said.append(said)
        following = self._to_messages(
            self._document,
            round_idx=len(self.said),
            previous_output=list(self.said),
            previous_round_info=self._info,
        )
        self.messages, is_over = None, True
        if isinstance(following, tuple):  # a task of one round gives messages again
            messages, is_over, _, self._info = following
        if not is_over:
            self.messages = messages


def asked_of(name: str, messages: Messages, before: VideoQuestion | None = None) -> VideoQuestion:
    """Return the question that a task's messages put about one video, or about that of `before`.

    Raises ValueError for pictures, sound, several videos and turns of the model.
    """
    told = ChatMessages(messages=messages).messages
    parts = [part for one in told if one.role == "user" for part in one.content]
    videos = [one for one in parts if isinstance(one, ChatVideoContent)]
    texts = [one.text for one in parts if one.type == "text"]
    is_plain = len(videos) + len(texts) == len(parts) and all(t.role != "assistant" for t in told)
    if not is_plain or len(videos) > 1 or not (videos or before):
        raise ValueError("vstream: it watches videos: a task asks about one, in turns of the user")
    system = [part.text for one in told if one.role == "system" for part in one.content]
    prompt = Prompt("\n".join(texts), "\n".join(system))
    if not videos:
        assert before is not None
        return replace(before, id=name, prompt=prompt)
    return VideoQuestion(name, *_shown(videos[0]), prompt)


def _shown(video: ChatVideoContent) -> tuple[Path, tuple[TimeSpan, ...]]:
    """Return a video and the span of it that is asked about."""
    told = {"path": video.url} if not isinstance(video.url, Mapping) else video.url
    starts = (video.start_time, told.get("video_start"))
    ends = (video.end_time, told.get("video_end"))
    start_s = next((one for one in starts if one is not None), 0.0)
    end_s = next((one for one in ends if one is not None), math.inf)
    path = Path(told.get("path") or told["url"])
    return path, (TimeSpan(float(start_s), float(end_s)),)


def _until(generation: Mapping[str, Any]) -> tuple[str, ...]:
    told = generation.get("until") or ()
    return (told,) if isinstance(told, str) else tuple(told)


def _cut(text: str, until: Sequence[str]) -> str:
    """Return what stands before the first of `until`."""
    return text[: min((at for one in until if (at := text.find(one)) >= 0), default=None)]
