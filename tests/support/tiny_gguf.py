"""A GGUF file of a llama of one layer with random weights, whose tokens are bytes."""

import numpy as np
from gguf import GGUFWriter
from tokenizers.pre_tokenizers import ByteLevel

_WIDTH, _HEADS = 64, 2
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_gguf(path):
    drawn = np.random.default_rng(0)
    tokens = [*sorted(ByteLevel.alphabet()), "ab", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(2 * _WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_eos_token_id(len(tokens) - 2)
    writer.add_chat_template(_TEMPLATE)
    shapes = {
        "token_embd": (len(tokens), _WIDTH),
        "output": (len(tokens), _WIDTH),
        **{f"blk.0.attn_{one}": (_WIDTH, _WIDTH) for one in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{one}": (2 * _WIDTH, _WIDTH) for one in ("gate", "up")},
        "blk.0.ffn_down": (_WIDTH, 2 * _WIDTH),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", drawn.normal(0, 0.2, shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
