"""`vstream serve --cluster` as far as Ray: a command line in, what Ray would be told to run out."""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import ray
from command_line import vstream

with warnings.catch_warnings(action="ignore"):  # of what Ray's own code does
    from ray import serve
    from ray.scripts import scripts
    from ray.serve._private.build_app import build_app
    from ray.serve.schema import ServeDeploySchema

from app.cluster import app as cluster
from app.server.keys import ApiKeys
from app.server.settings import ServiceSettings

NODE = "4c1fd9"


@dataclass(frozen=True)
class Deployed:
    """One deployment: Serve's own configuration of it, where it goes, and what it is made with."""

    config: dict[str, Any]
    at: dict[str, Any]
    settings: ServiceSettings
    keys: ApiKeys


def served(*arguments: str, environment: dict[str, str]) -> dict[str, Deployed]:
    """By name, what the command would deploy."""
    built: list[serve.Application] = []

    def run(application: serve.Application, **how: Any) -> None:
        built.append(application)
        raise KeyboardInterrupt

    quiet = {name: lambda *_, **__: None for name in ("init", "shutdown")}
    with (
        patch.multiple(ray, **quiet),
        patch.multiple(serve, run=run, start=quiet["init"], shutdown=quiet["init"]),
        _no_ray(environment),
    ):
        told = vstream(*arguments)
    assert told.code == 0, told.err
    return _deployed(built[0])


def from_environment(environment: dict[str, str]) -> dict[str, Deployed]:
    """By name, what Serve would deploy that was told of the function of this name."""
    with _no_ray(environment):
        return _deployed(cluster.from_environment({}))


def serve_config(document: dict[str, Any]) -> ServeDeploySchema:
    """Raises ValidationError for what Serve would refuse."""
    return ServeDeploySchema.model_validate(document)


def ray_start(words: Iterable[str]) -> dict[str, Any]:
    """The options of `ray start`. Raises ClickException for what it does not know."""
    return dict(scripts.start.make_context("start", list(words)).params)


@contextmanager
def _no_ray(environment: dict[str, str]) -> Iterator[None]:
    """A Ray of one node, which has no card; and no other settings than those."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VSTREAM_")}
    me = SimpleNamespace(get_node_id=lambda: NODE)
    ray_of_one = {"cluster_resources": dict, "get_runtime_context": lambda: me}
    environ = patch.dict(os.environ, {**kept, **environment}, clear=True)
    with environ, patch.multiple(ray, **ray_of_one):
        yield


def _deployed(application: serve.Application) -> dict[str, Deployed]:
    built = build_app(application, name="vstream", make_deployment_handle=lambda *_: None)
    found = {}
    for one in built.deployments:
        *_, settings, keys = one.init_args
        config = one._deployment_config.model_dump()
        found[one.name] = Deployed(config, one.ray_actor_options, ServiceSettings(**settings), keys)
    return found
