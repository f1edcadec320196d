"""PlaySettings: how videos are played and answers decoded, and what engine a policy makes of it."""

import hashlib
from dataclasses import dataclass

from eval.stream_benchmark.policy import Policy, answering_config, encoding_config
from vstream import VideoLLM, VStreamConfig
from vstream.decoding.token_choice import Decoding
from vstream.engine import EngineConfig

_DAY_S = 86_400


@dataclass(frozen=True)
class PlaySettings:
    """Plain data, the same for all videos of a run.

    `config` says where frames are scaled and thinned, and how much memory blocks may take; what a
    session keeps goes when its video is over. Answers are drawn where `temperature` is not 0, each
    from a seed of its own, which `seed` and the question's id make.
    """

    config: VStreamConfig
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    def encoding(self, policy: Policy, model: VideoLLM) -> VStreamConfig:
        """The configuration of the session whose blocks the policy reads."""
        return self._configured(encoding_config(policy, model), policy)

    def answering(self, policy: Policy, model: VideoLLM) -> VStreamConfig:
        """The configuration under which the policy's questions are answered."""
        num_frames = round(_DAY_S * model.sample_fps)
        return self._configured(answering_config(policy, model, num_frames), policy)

    def decoding(self, asked_id: str, turn: int) -> Decoding:
        """Of the answer that is said to the question the `turn`-th time."""
        if not self.temperature:
            return Decoding(max_tokens=self.max_tokens)
        digest = hashlib.sha256(f"{self.seed} {asked_id} {turn}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return Decoding(max_tokens=self.max_tokens, temperature=self.temperature, seed=seed)

    def _configured(self, engine: EngineConfig, policy: Policy) -> VStreamConfig:
        """A published prompt is read as it stands: the times in it are not what it asks about."""
        changes: dict[str, object] = {"follow_times": False, "max_answer_tokens": self.max_tokens}
        memory = self.config.memory.model_copy(update={"store": "memory://", "codec": policy.codec})
        return self.config.model_copy(
            update={"engine": engine.model_copy(update=changes), "memory": memory}
        )
