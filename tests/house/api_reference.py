"""Write docs/api.md: every route of the service with its fields, out of the service's own OpenAPI.

`make reference` does it; tests/house/test_api_reference.py says when it has to be done again.
"""

from pathlib import Path

from app.server.application import create_app
from app.server.keys import ApiKeys
from app.server.service import Service
from app.server.settings import ServiceSettings

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = """# API reference

Made from the code by `make reference`; the service has the same at `/openapi.json`.
[service.md](service.md) explains it, with examples. A route takes a key as
`Authorization: Bearer KEY`, unless the service has none; {open} take none.

An error is a JSON object `error` with `message`, `type`, `code` and `param`, as in OpenAI's
API: {errors}.
"""


def reference():
    """The page, as text."""
    api = create_app(Service(ServiceSettings(), ApiKeys(None, []))).openapi()
    schemas, parts, open_paths = api["components"]["schemas"], {}, []
    errors = {}
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            parts.setdefault(route["tags"][0], []).append(_route(method, path, route))
            if "security" not in route:
                open_paths.append(f"`{path}`")
            errors |= {code: it["description"] for code, it in route["responses"].items()}
    told = ", ".join(
        f"{code} ({text.rstrip('.').lower()})"
        for code, text in sorted(errors.items())
        if code >= "4"
    )
    page = [HEAD.format(open=", ".join(open_paths), errors=told)]
    for tag, routes in parts.items():
        page += [f"## {tag.capitalize()}\n", *routes]
    page.append("## Objects\n")
    page += [_object(name, schema) for name, schema in sorted(schemas.items())]
    return "\n".join(page)


def _route(method, path, route):
    lines = [f"### `{method.upper()} {path}`\n", f"{route['summary']}. {route['description']}\n"]
    rows = [
        (
            f"`{one['name']}` ({one['in']})",
            one["schema"],
            one.get("required", False),
            one.get("description", ""),
        )
        for one in route.get("parameters", [])
        if one["in"] != "path"
    ]
    if rows:
        lines += [_row(*row) for row in rows] + [""]
    takes = ", ".join(_contents(route.get("requestBody", {})))
    good = next(it for code, it in sorted(route["responses"].items()) if code < "3")
    gives = ", ".join(_contents(good))
    lines.append(f"{f'Body: {takes}. ' if takes else ''}Answer: {gives or 'empty'}.\n")
    return "\n".join(lines)


def _contents(body):
    return [
        _type(it["schema"]) if kind == "application/json" and it.get("schema") else f"`{kind}`"
        for kind, it in body.get("content", {}).items()
    ]


def _object(name, schema):
    lines = [f"### {name}\n"]
    if schema.get("description"):
        lines.append(" ".join(schema["description"].split()) + "\n")
    if "enum" in schema:
        lines.append(_type(schema) + "\n")
    required = schema.get("required", [])
    fields = schema.get("properties", {})
    lines += [
        _row(f"`{key}`", it, key in required, it.get("description", ""))
        for key, it in fields.items()
    ]
    return "\n".join(lines) + ("\n" if fields else "")


def _row(name, schema, is_required, description):
    default = schema.get("default")
    has = (
        f", default `{default!r}`"
        if default not in (None, [], {}) and "const" not in schema
        else ""
    )
    must = ", required" if is_required else ""
    text = " ".join(description.split())
    return f"- {name}: {_type(schema)}{must}{has}{f'. {text}' if text else ''}"


def _type(schema):
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " | ".join(f"`{one}`" for one in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    inner = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(inner, dict) and inner:
        return f"object of {_type(inner)}"
    return str(schema.get("type", "any"))


if __name__ == "__main__":
    PAGE.write_text(reference())
