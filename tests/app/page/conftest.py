"""One browser for all tests of a file."""

import pytest
from fake_camera import browser


@pytest.fixture(scope="module")
def chromium():
    with browser() as chromium:
        yield chromium
