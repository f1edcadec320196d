"""Schema trial: reads a grammar from stdin and writes what is wrong with it to stdout.

vstream.decoding.grammar_trials runs it as a file, so that it starts in a tenth of a second and may
be killed. Some schemas take minutes to compile (`{"type": "integer", "multipleOf": 30000001}`), or
twice as long for each further pattern in an `allOf`; nothing in llguidance bounds that or can be
told to stop.
"""

import resource
import signal
import sys

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

_CPU_S = 0.5
"""An object of 400 fields takes 0.03 s, one of 1000 with a pattern each 0.15 s."""
_MEMORY_BYTES = 512 << 20
"""Address space. Half a second of compiling takes about 60 MiB."""
_END = 256
_FIRST_LETTERS = 8
"""How far to follow: some schemas fail only once the first letters are written."""


class _Bytes:
    """A vocabulary of all bytes and an end: a grammar's cost does not depend on the words."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (_END,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def _problem(grammar: str) -> str:
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()))
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    for _ in range(_FIRST_LETTERS):
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        if matcher.is_error() or matcher.is_stopped():
            break
        matcher.consume_token((mask & -mask).bit_length() - 1)  # the first allowed one
    return str(matcher.get_error())


def main() -> None:
    """Limit what this process may take, then compile the grammar on stdin."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)  # CPU time of all threads; its signal kills us
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(_problem(sys.stdin.read()))


if __name__ == "__main__":
    main()
