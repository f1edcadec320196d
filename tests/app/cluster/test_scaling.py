"""How many workers are wanted, by what those that there are have to do."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cluster.app import build
from app.cluster.scaling import FULL, by_load, load_of
from app.server.keys import ApiKeys
from app.server.settings import load_settings
from vstream.errors import SettingsError


def wanted(*loads, target=3):
    told = {"load": {f"w{number}": load for number, load in enumerate(loads)}}
    context = SimpleNamespace(aggregated_metrics=told, target_num_replicas=target)
    return by_load(context)[0]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=8))
def test_as_many_are_wanted_as_leave_each_a_little_room_and_no_more(loads):
    number = wanted(*loads)
    assert sum(loads) / number <= FULL + 1e-5
    assert number == 1 or sum(loads) / (number - 1) > FULL


def test_one_that_is_full_gets_another_and_two_that_are_idle_become_one():
    assert [wanted(0.3), wanted(0.8), wanted(0.9), wanted(0.9, 0.1)] == [1, 1, 2, 2]
    assert [wanted(0.5, 0.5), wanted(0.3, 0.1), wanted(0.0)] == [2, 1, 1]
    assert wanted() == 3  # who has heard nothing changes nothing


def test_a_worker_is_as_full_as_what_it_has_least_room_for():
    assert load_of(0, 16, 0, 4) == 0
    assert load_of(8, 16, 1, 4) == 0.5
    assert load_of(1, 16, 6, 4) == 1.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own settings
def test_serve_takes_the_policy_as_it_stands(monkeypatch):
    """Made into bytes, as for its controller."""
    pytest.importorskip("ray", reason="no Ray: pip install 'vstream[cluster]'")
    import ray

    monkeypatch.setattr(ray, "cluster_resources", dict)
    settings = load_settings(None, memory={"store": "redis://127.0.0.1"})
    made = build(settings, ApiKeys(None), 1, 4)._bound_deployment.init_args[0]
    found = made._bound_deployment._deployment_config.autoscaling_config
    assert (found.min_replicas, found.max_replicas) == (1, 4)
    context = SimpleNamespace(aggregated_metrics={"load": {"a": 2.0}}, target_num_replicas=1)
    assert found.policy.get_policy()(context) == (3, {})
    with pytest.raises(SettingsError, match="--max-workers must be at least 2"):
        build(settings, ApiKeys(None), 2, 1)
