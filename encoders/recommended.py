"""Recommended: what a family was built or trained for, used for settings the user leaves open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommended:
    """Settings that a family (or one checkpoint of it) was built or trained for.

    They apply where the user's configuration leaves a value open. Counts are in frames, except
    `retrieve_blocks`, which is in blocks.

    `describe_prompt` asks for a description of a clip, for memories made of text; `say_prompt` asks
    for one sentence about the moment of an alert. `judge_prompt` turns an alert's condition, put in
    place of `{condition}`, into a question; an answer that starts with one of `yes_words` means
    that the condition holds now, with one of `no_words` that it does not. An alert fires when the
    probability of yes has exceeded `alert_threshold` in the last `alert_confirmations` judgements,
    and again only after it has fallen to `alert_release` (None: to the threshold). In a single past
    block a statement holds from `find_threshold` on, see `vstream.search.hunter`. `recap_prompt`
    asks for everything that a block shows, separated by `recap_separator`; each part is put in
    place of `{said}` in `recap_statement`. `recap_unsaid` are patterns and their replacements, for
    details the model cannot confirm or deny. Such a statement holds from `recap_threshold` on
    (None: `find_threshold`). A model trained to stay silent until there is something to say starts
    with one of `silence_words` then; other models have none. The layers at `cited_depths` (0 is the
    first, 1 the last) show by their attention where an answer's words looked. A model that
    `reads_context` or `reads_dialogue` can be given text before a question. One that
    `reads_stream_time` was trained to find moments by it and knows no other clock. `knows` says, to
    readers of its answers, what it was trained to see if that is not the real world.
    """

    sample_fps: float = 1.0
    window_frames: int = 64
    window_stride: int = 16
    recent_frames: int = 16
    retrieve_blocks: int = 64
    similarity: str = "inner_product"
    describe_prompt: str = (
        "Describe what happens in this part of the video: who and what is there, what they do, "
        "how things look, and any text that can be read."
    )
    say_prompt: str = "Say in one short sentence what is happening right now."
    judge_prompt: str = "{condition}\nIs this the case right now? Answer only yes or no."
    yes_words: tuple[str, ...] = ("yes",)
    no_words: tuple[str, ...] = ("no",)
    alert_threshold: float = 0.5
    alert_confirmations: int = 2
    alert_release: float | None = None
    find_threshold: float = 0.5
    recap_prompt: str = (
        "List what there is and what happens in this part of the video: one short sentence a line, "
        "and nothing else."
    )
    recap_separator: str = "\n"
    recap_unsaid: tuple[tuple[str, str], ...] = ()
    recap_statement: str = "{said}"
    recap_threshold: float | None = None
    cited_depths: tuple[float, ...] = (0.45, 0.7)  # measured: docs/stream_world.md
    silence_words: tuple[str, ...] = ()
    reads_context: bool = True
    reads_dialogue: bool = True
    reads_stream_time: bool = False
    knows: str | None = None


_COLOR = "(?:red|orange|yellow|green|blue|purple|pink|white|black|brown)"
EMBEDDED = Recommended(
    sample_fps=1.0,
    window_frames=16,
    window_stride=8,
    recent_frames=8,
    retrieve_blocks=32,
    similarity="cosine",
    describe_prompt="what appeared in the last minute?",  # of those trained, covers most
    say_prompt="what is happening now?",
    judge_prompt="{condition}",  # trained on the bare wording: "now" or "not yet", "yes" or "no"
    yes_words=("yes", "now"),
    no_words=("no", "not"),
    alert_threshold=0.96,  # measured: 124 of 136 arrivals told, 4 alarms for nothing in 6 h
    alert_confirmations=2,
    alert_release=0.9,
    find_threshold=0.99,  # measured: docs/find.md
    recap_prompt="what do you see now?",
    recap_separator=", ",
    recap_unsaid=(  # it also says yes to wrong colours and numbers: docs/recap.md
        (rf"\ban? {_COLOR} (?=[aeiou])", "an "),
        (rf"\ban? {_COLOR} (?=\w)", "a "),
        (r" with \d+", ""),
    ),
    recap_statement="{said} is there now",
    recap_threshold=0.985,  # measured: docs/recap.md
    reads_context=False,
    reads_dialogue=False,
    reads_stream_time=True,
    knows="drawings only",
)
"""What the embedded model was trained for."""

TEXT = Recommended(window_frames=1024, window_stride=256, recent_frames=512, retrieve_blocks=16)
"""For a stream of text, in tokens."""
