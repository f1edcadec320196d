"""code_of: write code that asks a stream the same question, by language."""

import json
import shlex

from app.client import ServiceClient

_KEY = "VSTREAM_API_KEY"
_PYTHON = """import os
from openai import OpenAI

client = OpenAI(base_url={url}, api_key={key})
answer = client.chat.completions.create(
    model="default",
    messages=[{{"role": "user", "content": [
        {{"type": "video_url", "video_url": {{"url": {address}}}}},
        {{"type": "text", "text": {question}}},
    ]}}],
)
print(answer.choices[0].message.content)
"""


def code_of(client: ServiceClient, question: str, address: str) -> dict[str, str]:
    """`address` is e.g. stream://door. The code reads any key it needs from the environment."""
    parts = [
        {"type": "video_url", "video_url": {"url": address}},
        {"type": "text", "text": question},
    ]
    body = {"model": "default", "messages": [{"role": "user", "content": parts}]}
    curl = [
        f"curl {client.url}/v1/chat/completions -H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${_KEY}"'] if client.has_key else []),
        f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    ]
    python = _PYTHON.format(
        url=repr(f"{client.url}/v1"),
        key=f'os.environ["{_KEY}"]' if client.has_key else '"none"',
        address=repr(address),
        question=repr(question),
    )
    if not client.has_key:
        python = python.removeprefix("import os\n")
    return {"curl": " \\\n  ".join(curl), "Python": python}
