"""docs_page: render an OpenAPI document as an HTML page that loads no scripts."""

from html import escape
from typing import Any

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>vstream API</title>
<style>
body{font:16px/1.5 system-ui;max-width:60rem;margin:auto;padding:1rem;color-scheme:light dark}
summary{cursor:pointer}dd{margin:.2rem 0 1rem 1.5rem}</style>
<h1>vstream API</h1>"""


def docs_page(api: dict[str, Any]) -> str:
    """List all routes as HTML, with the fields of each request."""
    about = escape(api["info"].get("description", ""))
    parts = [_HEAD, f'<p>{about}</p><p>All fields: <a href="/openapi.json">/openapi.json</a>.</p>']
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            title = f"<code>{method.upper()} {escape(path)}</code> {escape(route['summary'])}"
            fields = "".join(_fields(api, route))
            body = f"<p>{escape(route.get('description', ''))}</p><dl>{fields}</dl>"
            parts.append(f"<details><summary>{title}</summary>{body}</details>")
    return "\n".join(parts)


def _fields(api: dict[str, Any], route: dict[str, Any]) -> list[str]:
    """The fields of a route's query, and of its body if that is an object."""
    named = {one["name"]: one for one in route.get("parameters", ())}
    for kind in route.get("requestBody", {}).get("content", {}).values():
        name = kind.get("schema", {}).get("$ref", "").rpartition("/")[2]
        named |= api["components"]["schemas"].get(name, {}).get("properties", {})
    return [
        f"<dt><code>{escape(name)}</code></dt><dd>{escape(field.get('description', ''))}</dd>"
        for name, field in named.items()
    ]
