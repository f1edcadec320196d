"""A Hugging Face Space: the page of `vstream demo`, open to everyone."""

import os
import sys

sys.path.pop(0)  # this file's folder: `app` is the package, not this file

from app.sample import SAMPLE_VIDEO
from app.serve import run_service
from app.server.settings import ServiceConfig, load_settings
from app.terminal import Terminal
from vstream.service.stream_spec import StreamSpec

SAMPLE = {"id": "sample", "source": {"url": str(SAMPLE_VIDEO), "loop": True}}
OPEN = ServiceConfig(host="0.0.0.0", port=int(os.environ.get("PORT", "7860")), insecure=True)

if __name__ == "__main__":
    streams = (StreamSpec.model_validate(SAMPLE),)
    settings = load_settings(None).model_copy(update={"streams": streams, "service": OPEN})
    run_service(Terminal(), settings)
