"""Pictures and clips in, parts of a request that show them, as OpenAI's clients send them, out."""

import base64
import io

from one_thing import thing_jpeg
from PIL import Image


def data_url(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image_part(data, kind="image/jpeg"):
    return {"type": "image_url", "image_url": {"url": data_url(kind, data)}}


def clip_part(data, kind="video/mp4"):
    return {"type": "video_url", "video_url": {"url": data_url(kind, data)}}


def words(text):
    return {"type": "text", "text": text}


def asking(text, *parts, **wishes):
    """The body of a chat request."""
    return {"messages": [{"role": "user", "content": [*parts, words(text)]}], **wishes}


def encoded(picture, kind):
    """A JPEG as Pillow's other `kind`."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(buffer, kind)
    return buffer.getvalue()


def owl_jpeg(part=0.5):
    return thing_jpeg("owl", part)
