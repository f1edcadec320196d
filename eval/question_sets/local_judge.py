"""LocalJudge: a judge's prompt in, the reply of a language model on this machine out."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.question_sets.judge import MAX_REPLY_TOKENS, JudgePrompt, JudgeReply
from vstream import ModelError
from vstream.models.fingerprint import checkpoint_fingerprint


class LocalJudge:
    """A checkpoint with a chat template; greedy, so that it says the same to the same."""

    num_parallel = 1
    num_attempts = 1

    def __init__(
        self, directory: Path, device: str = "cpu", max_reply_tokens: int = MAX_REPLY_TOKENS
    ) -> None:
        """Raises ModelError if it cannot be loaded. Nothing is downloaded."""
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                directory, dtype="auto", local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"judge: {directory} cannot be loaded ({error})") from error
        if not tokenizer.chat_template:
            raise ModelError(f"judge: {directory} has no chat template; choose an instruct model")
        self._tokenizer = tokenizer
        self._model = model.to(device).eval()
        self._max_reply_tokens = max_reply_tokens
        self._version = checkpoint_fingerprint(directory)
        self.name = directory.resolve().name
        self.settings = (
            f"weights={self._version} dtype={model.dtype} greedy max_tokens={max_reply_tokens}"
        )

    @torch.inference_mode()
    def reply(self, prompt: JudgePrompt) -> JudgeReply:
        messages = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ]
        inputs = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        output = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self._max_reply_tokens,
            pad_token_id=self._tokenizer.eos_token_id,
        )
        own = output[0, inputs["input_ids"].shape[1] :]
        return JudgeReply(self._tokenizer.decode(own, skip_special_tokens=True), self._version)
