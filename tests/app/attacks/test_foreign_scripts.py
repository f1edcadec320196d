"""Nothing that the service shows has a browser run what lies elsewhere: a key is typed there."""

import re

import pytest


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/", "/openapi.json"])
def test_no_page_loads_a_script_of_another_server(locked, path):
    shown = locked.http.get(path)
    scripts = re.findall(r"<(?:script|link|iframe)[^>]+(?:src|href)=\"(\w+:)?//", shown.text)
    assert scripts == []
    assert "cdn" not in shown.text


def test_the_routes_are_told_without_a_script(as_caller):
    assert as_caller(None).get("/openapi.json").json()["paths"]["/v1/streams"]
    shown = as_caller(None).get("/docs")
    assert "/v1/chat/completions" in shown.text
    assert "<script" not in shown.text
