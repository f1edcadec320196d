"""Pictures and clips in a request: what is answered about them, what is refused, what is left."""

import gc
import io
import json
import struct
import tempfile
import threading
import time
import zlib
from pathlib import Path

import openai
import psutil
import pytest
from loopback_http import loopback_http
from one_thing import thing_jpeg, write_thing_video
from PIL import Image
from redis_servers import redis_server
from service import embedded, running_service
from shown import asking, clip_part, data_url, encoded, image_part, owl_jpeg, words
from slow_web import stalling

from app.server.keys import ScopedKey, new_key
from vstream import SourcePolicy
