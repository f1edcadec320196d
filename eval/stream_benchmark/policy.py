"""Policy: a name as `default+int4` in, how a stream is encoded and what its questions see out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from memory import MemoryPolicy, ModelShape, policy_named
from memory.policies.default import Default, DefaultSettings
from vstream import SettingsError, VideoLLM
from vstream.engine import EngineConfig
from vstream.policy import shape_of

Base = Literal[
    "default",
    "window",
    "sinks",
    "last4",
    "frames",
    "uniform",
    "captions",
    "rekv",
    "full",
    "oracle",
]
Codec = Literal["int8", "int4", "bf16"]

ALL = "all"
DROP_SIMILARITY = 0.95
LAST_FRAMES = 4
"""What `last4` sees, as SimpleStream does (the newest frames and no memory)."""
UNSEEN = ("last4", "frames")
"""Bases that encode a few frames by themselves for every question and keep no memory."""
_FULL_CHUNK_FRAMES = 64


@dataclass(frozen=True)
class Policy:
    """Which blocks a question sees, their codec, and whether still visual tokens were dropped.

    default   the family's recommended settings, untouched
    window    as many of the newest blocks as default sees in all, nothing retrieved
    sinks     StreamingLLM: attention sinks (the prefix) and as many of the newest blocks as
              default sees in all, for the prefill as for the question
    last4     SimpleStream: the newest four frames, encoded by themselves: no memory
    frames    as many frames as default sees, spread evenly from the first to the newest, encoded by
              themselves
    uniform   default's recent window; the rest spread evenly over all older blocks
    captions  default's recent window, and of the past a few captions, read as text
    rekv      ReKV's own attention rules, with a window that holds as many blocks as default sees
    full      everything before, for the prefill as for the question
    oracle    default, but that each layer also retrieves the blocks at the ends of the evidence: as
              many in all, for the number of blocks must not tell whether there is any
    """

    name: str
    base: Base
    codec: Codec = "int8"
    has_drop: bool = False

    @property
    def blocks(self) -> str:
        """What its blocks are made by, model aside: policies that agree in it share them."""
        prefill = self.base if self.base in ("sinks", "rekv", "full") else "default"
        return f"{prefill}-{'drop-' if self.has_drop else ''}{self.codec}"

    @property
    def has_memory(self) -> bool:
        return self.base not in UNSEEN


def parse_policies(text: str) -> list[Policy]:
    """Policies by name, separated by commas; `all`: every base. Raises SettingsError."""
    names = get_args(Base) if text == ALL else text.split(",")
    policies = [parse_policy(name.strip()) for name in names]
    if len({replace(policy, name="") for policy in policies}) < len(policies):
        raise SettingsError(f"policy: {text} names one policy twice")
    return policies


def parse_policy(name: str) -> Policy:
    """`BASE[+CODEC][+drop]`. Raises SettingsError."""
    base, *suffixes = name.split("+")
    codecs = [codec for codec in get_args(Codec) if codec in suffixes]
    known = {*get_args(Codec), "drop"}
    if base not in get_args(Base) or len(set(suffixes) & known) < len(suffixes) or len(codecs) > 1:
        raise SettingsError(
            f"policy: {name!r} is none; write one of {', '.join(get_args(Base))}, then, as you "
            f"like, + and one of {', '.join(get_args(Codec))}, and +drop"
        )
    if base == "rekv" and "drop" in suffixes:
        raise SettingsError("policy: ReKV's rules are for blocks of one length: rekv without +drop")
    return Policy(name, base, codecs[0] if codecs else "int8", "drop" in suffixes)  # type: ignore[arg-type]


def written_policy(policy: Policy, model: VideoLLM) -> MemoryPolicy:
    """The memory policy under which its blocks are made. All are kept, as they are asked later."""
    settings: dict[str, object] = {"drop_similarity": DROP_SIMILARITY} if policy.has_drop else {}
    if policy.base == "rekv":
        return policy_named("rekv", _shape(model), {})
    if policy.base in ("full", "frames"):
        settings["window_frames"] = 0
    elif policy.base == "sinks":  # the cache loses one block for each that it gets
        settings["window_frames"] = context_frames(model)
        settings["window_stride"] = model.family.frames_per_block
    return policy_named("default", _shape(model), settings)


def asked_policy(policy: Policy, model: VideoLLM, num_frames: int) -> MemoryPolicy:
    """The memory policy under which questions about a stream of `num_frames` are answered."""
    written = written_policy(policy, model)
    changes: dict[str, int] = {}
    if policy.base in ("window", "sinks", "frames"):
        changes = {"recent_frames": context_frames(model), "retrieve_blocks": 0}
    elif policy.base == "full":
        changes = {"recent_frames": max(1, num_frames), "retrieve_blocks": 0}
    elif policy.base == "last4":
        changes = {"recent_frames": LAST_FRAMES, "retrieve_blocks": 0}
    elif policy.base == "captions":
        changes = {"retrieve_blocks": 0}
    name = "uniform" if policy.base == "uniform" else written.name
    settings = {**written.settings.model_dump(exclude_unset=True), **changes}
    return policy_named(name, _shape(model), settings)


def engine_config(policy: Policy) -> EngineConfig:
    """A question sees all that its policy shows it: named times only narrow what is retrieved."""
    retrieves = policy.base in ("default", "rekv", "oracle")
    if policy.base in ("full", "frames"):  # the past is rotated again for every chunk
        return EngineConfig(chunk_frames=_FULL_CHUNK_FRAMES, follow_times=retrieves)
    return EngineConfig(follow_times=retrieves)


def require_fit(policy: Policy, model: VideoLLM, num_frames: int) -> None:
    """Raises SettingsError where the model cannot follow the policy over so many frames."""
    if policy.base == "rekv" and model.decoder.num_axes != 1:
        raise SettingsError(
            f"policy: rekv's rules are for one rotary axis, the model has "
            f"{model.decoder.num_axes}: leave it out"
        )
    if policy.base != "full":
        return
    needed = _shape(model).block_tokens() * num_frames // model.family.frames_per_block
    if needed > model.decoder.max_positions:
        raise SettingsError(
            f"policy: full needs {needed} positions for {num_frames} frames, the model has "
            f"{model.decoder.max_positions}: leave it out or play shorter streams"
        )


def fitting(
    policies: Sequence[Policy], model: VideoLLM, num_frames: int
) -> tuple[list[Policy], dict[str, str]]:
    """Those of them that the model can follow, and why it cannot follow the others, by name."""
    fit, why = [], {}
    for policy in policies:
        try:
            require_fit(policy, model, num_frames)
        except SettingsError as error:
            why[policy.name] = str(error)
        else:
            fit.append(policy)
    return fit, why


def default_policy(model: VideoLLM) -> Default:
    """What the family recommends."""
    return Default(_shape(model), DefaultSettings())


def context_frames(model: VideoLLM) -> int:
    """How many frames a question of default sees in all."""
    return default_policy(model).context_blocks() * model.family.frames_per_block


def _shape(model: VideoLLM) -> ModelShape:
    return shape_of(model, EngineConfig().max_answer_tokens)
