"""ApiKeys: who a header names, and what that one may do."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.server.keys import (
    Action,
    ApiKeys,
    Caller,
    ScopedKey,
    hash_of,
    master_key,
    new_key,
    refuse_bind,
)
from vstream import SettingsError
from vstream.device.shares import Holder

MASTER = "correct-horse-battery"
TABLET, TABLET_HASH = new_key()
CAMERA, CAMERA_HASH = new_key()
KEYS = ApiKeys(
    MASTER,
    [
        ScopedKey(name="tablet", hash=TABLET_HASH, streams=("kitchen", "door-*"), can={"ask"}),
        ScopedKey(name="camera", hash=CAMERA_HASH, streams=("door-?",), can={"push"}),
    ],
)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (f"Bearer {MASTER}", "master"),
        (f"bearer {TABLET}", "tablet"),
        (f"Bearer  {CAMERA} ", "camera"),
        (f"Bearer {TABLET}x", None),
        (f"Bearer {TABLET[:-1]}", None),
        (f"Bearer {TABLET_HASH}", None),
        (f"Basic {MASTER}", None),
        (MASTER, None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
        ("Bearer \xff\udc80", None),
    ],
    ids=range(13),  # keys are new in every process
)
def test_a_header_names_its_caller_or_nobody(header, name):
    caller = KEYS.check(header)
    assert (caller and caller.name) == name


@given(st.text(max_size=50))
def test_no_other_key_is_anyones(key):
    assert KEYS.check(f"Bearer {key}") is None


TABLE = {
    ("master", "kitchen"): {"read", "ask", "push", "manage"},
    ("master", None): {"read", "ask", "push", "manage"},
    ("tablet", "kitchen"): {"read", "ask"},
    ("tablet", "door-1"): {"read", "ask"},
    ("tablet", "Kitchen"): set(),
    ("tablet", "kitchen-2"): set(),
    ("tablet", "bedroom"): set(),
    ("tablet", None): set(),
    ("camera", "door-1"): {"push"},
    ("camera", "door-12"): set(),
}


@pytest.mark.parametrize(("who", "stream_id"), TABLE)
def test_a_caller_may_what_its_key_says(who, stream_id):
    header = {"master": MASTER, "tablet": TABLET, "camera": CAMERA}[who]
    caller = KEYS.check(f"Bearer {header}")
    allowed = {action for action in Action if caller.may(action, stream_id)}
    assert allowed == TABLE[who, stream_id]


@given(st.sets(st.sampled_from(list(Action)), min_size=1), st.sampled_from(list(Action)))
def test_a_further_scope_never_takes_anything_away(can, more):
    before, after = (Caller("x", ("*",), frozenset(scopes)) for scopes in (can, can | {more}))
    assert all(after.may(a, "s") >= before.may(a, "s") for a in Action)
    assert all(before.may(a, "s") for a in can)


def test_lists_show_what_a_caller_may_read():
    streams = ["bedroom", "door-1", "kitchen"]
    assert KEYS.check(f"Bearer {TABLET}").visible(streams) == ["door-1", "kitchen"]
    assert KEYS.check(f"Bearer {CAMERA}").visible(streams) == []
    assert KEYS.check(f"Bearer {MASTER}").visible(streams) == streams


def test_without_a_key_everyone_may_everything():
    keys = ApiKeys(None)
    assert keys.is_open
    for header in (None, "Bearer x"):
        assert all(keys.check(header).may(action, None) for action in Action)
    assert not ApiKeys(None, [ScopedKey(name="a", hash=TABLET_HASH)]).is_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "example.com"])
def test_other_machines_need_a_key(host):
    with pytest.raises(SettingsError, match=r"VSTREAM_API_KEY.*--insecure"):
        refuse_bind(host, ApiKeys(None), insecure=False)
    refuse_bind(host, ApiKeys(None), insecure=True)
    refuse_bind(host, KEYS, insecure=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_none(host):
    refuse_bind(host, ApiKeys(None), insecure=False)


def test_keys_are_long_and_never_alike_and_only_hashes_are_kept():
    made = {new_key()[0] for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43  # 256 bits in base64
    assert hash_of(TABLET) != hash_of(TABLET)
    kept = repr(vars(KEYS))
    assert TABLET not in kept
    assert MASTER not in kept
    _, salt, digest = TABLET_HASH.split(":")
    assert hashlib.sha256(bytes.fromhex(salt) + TABLET.encode()).hexdigest() == digest


@pytest.mark.parametrize(
    "weak", ["", "feeble", "x" * 15, "pässwörter-und-mehr", "with a space in it"]
)
def test_a_weak_master_key_is_refused(weak):
    with pytest.raises(SettingsError, match="vstream key") as caught:
        ApiKeys(weak)
    assert not weak or weak not in str(caught.value)


@pytest.mark.parametrize("names", [("a", "a"), ("master",), ("anyone",)])
def test_names_are_unique(names):
    with pytest.raises(SettingsError, match="taken"):
        ApiKeys(None, [ScopedKey(name=name, hash=TABLET_HASH) for name in names])


@pytest.mark.parametrize(
    "wrong",
    [
        {"hash": TABLET},
        {"hash": "sha256::" + "0" * 64},
        {"can": ["fly"]},
        {"can": []},
        {"streams": []},
        {"key": TABLET},
    ],
)
def test_a_scoped_key_that_does_not_make_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        ScopedKey.model_validate({"name": "a", "hash": TABLET_HASH} | wrong)


def test_the_master_key_comes_from_the_environment_or_a_file(tmp_path):
    file = tmp_path / "key"
    file.write_text(MASTER + "\n")
    assert master_key({}) is None
    assert master_key({"VSTREAM_API_KEY": ""}) is None
    assert master_key({"VSTREAM_API_KEY": MASTER}) == MASTER
    assert master_key({"VSTREAM_API_KEY_FILE": str(file)}) == MASTER
    with pytest.raises(SettingsError, match="both"):
        master_key({"VSTREAM_API_KEY": MASTER, "VSTREAM_API_KEY_FILE": str(file)})
    with pytest.raises(SettingsError, match="nowhere"):
        master_key({"VSTREAM_API_KEY_FILE": str(tmp_path / "nowhere")})
    file.write_text("\n")
    with pytest.raises(SettingsError, match="too short"):
        ApiKeys(master_key({"VSTREAM_API_KEY_FILE": str(file)}))


def test_keys_share_where_there_are_several_and_one_alone_shares_with_nobody():
    assert KEYS.check(f"Bearer {MASTER}").holder == Holder("master", is_limited=False)
    assert KEYS.check(f"Bearer {TABLET}").holder == Holder("tablet")
    alone = ApiKeys(None, [ScopedKey(name="tablet", hash=TABLET_HASH)])
    assert alone.check(f"Bearer {TABLET}").holder is None
    assert ApiKeys(MASTER).check(f"Bearer {MASTER}").holder is None
    assert ApiKeys(None).check(None).holder is None
