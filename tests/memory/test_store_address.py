"""Store addresses as people write them: passwords are shown nowhere."""

import pytest

from memory import MemoryConfig, RedisLink, StoreError, open_stored, store_name
from vstream import SettingsError, load_config

SECRET = "s3cret"


@pytest.mark.parametrize(
    "store",
    [
        f"redis://:{SECRET}@host:6379/0",
        f"redis://me:{SECRET}@host",
        f"rediss://me:a@{SECRET}@host",
        f"redis+tls://me:{SECRET}@host",
        f"redis-sentinel://:{SECRET}@host",
        f"sentinel://:{SECRET}@host:26379,other:26379",
        f"sentinel://:{SECRET}@host:port/name",
        f"sentinel://me:{SECRET}@,other/name",
        f"me:{SECRET}@host:6379",
        f"redis:me:{SECRET}@host",
        f"redis://me:/{SECRET}@host",
        f"redis://me:1/{SECRET}@host",
        f"unix://me@/run/redis.sock?password={SECRET}&db=1",
        f"http://me:{SECRET}@host",
    ],
)
def test_a_password_is_in_no_name_and_no_message(store):
    assert SECRET not in store_name(store)
    assert SECRET not in repr(MemoryConfig(store=store))
    with pytest.raises(StoreError) as raised:
        open_stored(MemoryConfig(store=store), "camera")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("store", ["memory://", "file:///data", "redis://host:6379/1"])
def test_an_address_without_a_password_is_shown_as_it_is(store):
    assert store_name(store) == store


def test_a_password_with_a_slash_is_refused_with_what_to_do():
    with pytest.raises(StoreError, match="%2F"):
        RedisLink("redis://:12/34@host")


def test_a_misspelt_setting_does_not_show_what_was_given():
    with pytest.raises(SettingsError) as raised:
        load_config(memory={"stor": f"redis://:{SECRET}@host"})
    assert SECRET not in str(raised.value)
