"""Write the streams of this folder, and what is answered about them.

At commit 9ed0448, with a redis-server: `PYTHONPATH=.:tests/support python write.py FOLDER`.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import redis
from redis_servers import RedisServer, redis_binary
from synthetic_video import picture
from tiny_checkpoints import save_tiny_checkpoint

from encoders import Frame
from vstream import Question, VStreamConfig, load_video_llm, open_session

SMALL = {
    "window_frames": 8,
    "window_stride": 2,
    "recent_frames": 4,
    "retrieve_blocks": 5,
    "max_answer_tokens": 12,
}
STREAMS = {
    "plain": (SMALL, {}),
    "int4": ({**SMALL, "retrieval": "global"}, {"codec": "int4"}),
    "dropped": ({**SMALL, "drop_similarity": 0.9, "retrieval": "two_pass"}, {}),
    "rekv": ({"rekv_window_tokens": 80, "retrieve_blocks": 5, "max_answer_tokens": 12}, {}),
}
IN_REDIS = ("plain", "dropped")
QUESTIONS = (
    "what do you see now?",
    "was there a square before?",
    "how many were there in the first 11 seconds?",
    "what happened at 0:09?",
)
FRAMES = [Frame(picture(second), float(second), 1_700_000_000.0 + second) for second in range(28)]


def answers(name, store, checkpoint):
    """Write the stream and ask about it."""
    engine, memory = STREAMS[name]
    memory = {"store": store, "segment_bytes": 1 << 16, **memory}
    config = VStreamConfig(
        model=str(checkpoint), device="cpu", dtype="float32", engine=engine, memory=memory
    )
    model = load_video_llm(config.model, "cpu", "float32", sample_fps=1.0)
    told = {}
    with open_session(config, model, name) as session:
        for first in range(0, len(FRAMES), 4):
            session.push(FRAMES[first : first + 4])
        for text in QUESTIONS:
            answer = session.ask(Question(text)).answer
            told[text] = {
                "text": answer.text,
                "token_ids": list(answer.token_ids),
                "confidence": answer.confidence,
                "evidence": [
                    [seen.block_id, seen.start_s, seen.end_s, seen.num_layers]
                    for seen in answer.evidence
                ],
            }
    return told


def main(folder):
    checkpoint = save_tiny_checkpoint("smolvlm", folder / "checkpoint")
    server = RedisServer(redis_binary(), Path(tempfile.mkdtemp()))
    told = {}
    for name, (engine, memory) in STREAMS.items():
        kept = answers(name, f"file://{folder / 'files'}", checkpoint)
        if name in IN_REDIS:
            assert answers(name, server.url, checkpoint) == kept
        told[name] = {"engine": engine, "memory": memory, "answers": kept}
    with redis.Redis(port=server.port) as client:
        keys = {key.decode(): base64.b64encode(client.dump(key)).decode() for key in client.keys()}
    (folder / "redis.json").write_text(json.dumps(keys, indent=0, sort_keys=True))
    (folder / "answers.json").write_text(json.dumps(told, separators=(",", ":")))
    server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
