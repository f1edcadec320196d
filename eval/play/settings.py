"""PlaySettings: how to play videos, decode answers and keep blocks; the same for a whole run."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from eval.play.contender import Contender
from memory import MemoryPolicy
from vstream import SettingsError, VideoLLM, VStreamConfig
from vstream.decoding.token_choice import Decoding
from vstream.policy import policy_for

HOST_SHARE = 0.1
"""Share of a file budget for copies of rows in host RAM."""
_LEAST_BYTES = 1 << 20


@dataclass(frozen=True)
class PlaySettings:
    """Plain data, the same for all videos of a run.

    `config` says how frames are scaled and thinned out, and how much memory blocks may take.
    Answers have at most `max_tokens`; None: the product's limit. If `temperature` is not 0, each is
    sampled with its own seed, made from `seed` and the question's id. `follows_times` says whether
    words that name a moment restrict what is seen, as in the product; a published prompt is read as
    it is. Blocks are kept in files in `folder`, None: in host RAM; they are deleted when their
    video is over.
    """

    config: VStreamConfig
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    follows_times: bool = False
    folder: Path | None = None

    def decoding(self, asked_id: str, turn: int) -> Decoding:
        """Return the decoding of the `turn`-th answer to the question."""
        if not self.temperature:
            return Decoding(max_tokens=self.max_tokens)
        digest = hashlib.sha256(f"{self.seed} {asked_id} {turn}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return Decoding(max_tokens=self.max_tokens, temperature=self.temperature, seed=seed)

    def configured(self, contender: Contender, budget_bytes: int | None = None) -> VStreamConfig:
        times = self.follows_times and contender.follows_times
        engine: dict[str, object] = {"follow_times": times, "plan_milliseconds": None}
        if self.max_tokens is not None:
            engine["max_answer_tokens"] = self.max_tokens
        memory: dict[str, object] = {"store": "memory://", "codec": contender.codec}
        if self.folder is not None:
            memory["store"] = self.folder.resolve().as_uri()
        if budget_bytes is not None:
            memory |= self._bounds(budget_bytes)
        return self.config.model_copy(
            update={
                "engine": self.config.engine.model_copy(update=engine),
                "memory": self.config.memory.model_copy(update=memory),
                "policy": contender.opened_under,
                "policy_set": dict(contender.settings),
            }
        )

    def policy(self, contender: Contender, model: VideoLLM) -> MemoryPolicy:
        """Return the contender's own. Raises PolicyError if the model cannot follow it."""
        return policy_for(self.configured(contender), model)

    def _bounds(self, budget_bytes: int) -> dict[str, object]:
        if budget_bytes < 2 * _LEAST_BYTES:
            raise SettingsError(
                f"budget: {budget_bytes} bytes are less than the least, {2 * _LEAST_BYTES}; give "
                "a larger share or a longer stream"
            )
        if self.folder is None:
            return {"host_bytes": budget_bytes}
        host_bytes = max(_LEAST_BYTES, int(HOST_SHARE * budget_bytes))
        return {"host_bytes": host_bytes, "file_bytes": budget_bytes - host_bytes}
