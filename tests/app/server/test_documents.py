"""What the API tells: the address of a picture leads to the moment that it stands for."""

from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from app.server.documents import frame_url


@given(st.floats(0, 1e7))
def test_the_time_in_an_address_is_never_before_the_moment_itself(at_s):
    (t_s,) = parse_qs(urlsplit(frame_url("front-door", at_s)).query)["t_s"]
    assert at_s <= float(t_s) <= at_s + 3e-6
