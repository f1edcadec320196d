"""PlaySettings: how videos are played and answers decoded, and what engine a policy makes of it."""

import hashlib
from dataclasses import dataclass

from eval.stream_benchmark.policy import Policy, asked_policy, engine_config, written_policy
from memory import MemoryPolicy
from vstream import VideoLLM, VStreamConfig
from vstream.decoding.token_choice import Decoding

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

    def written(self, policy: Policy, model: VideoLLM) -> MemoryPolicy:
        """That of the session whose blocks the policy reads."""
        return written_policy(policy, model)

    def asked(self, policy: Policy, model: VideoLLM) -> MemoryPolicy:
        """That under which the policy's questions are answered."""
        return asked_policy(policy, model, round(_DAY_S * model.sample_fps))

    def decoding(self, asked_id: str, turn: int) -> Decoding:
        """Of the answer that is said to the question the `turn`-th time."""
        if not self.temperature:
            return Decoding(max_tokens=self.max_tokens)
        digest = hashlib.sha256(f"{self.seed} {asked_id} {turn}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return Decoding(max_tokens=self.max_tokens, temperature=self.temperature, seed=seed)

    def configured(self, policy: Policy) -> VStreamConfig:
        """The configuration of its session.

        A published prompt is read as it stands: the times in it are not what it asks about.
        """
        changes: dict[str, object] = {"follow_times": False, "max_answer_tokens": self.max_tokens}
        memory = self.config.memory.model_copy(update={"store": "memory://", "codec": policy.codec})
        return self.config.model_copy(
            update={"engine": engine_config(policy).model_copy(update=changes), "memory": memory}
        )
