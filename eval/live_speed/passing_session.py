"""passing_session: a model in, a session of a new stream out, and nothing left of it afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from vstream import Session, VideoLLM, VStreamConfig, open_session


@contextmanager
def passing_session(config: VStreamConfig, model: VideoLLM) -> Iterator[Session]:
    """In the configured store. Raises what `open_session` raises."""
    session = open_session(config, model, f"measured-{uuid4().hex[:12]}")
    try:
        yield session
    finally:
        session.memory.erase()
