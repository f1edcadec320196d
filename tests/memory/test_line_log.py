"""Lines beside the streams of a store: the newest, over restarts, in files and in Redis."""

import os
import resource
from contextlib import contextmanager

import pytest

from memory import StoreError, require_stream_id, stored_ids, tier_of


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/store"
    return request.getfixturevalue("valkey_server").url


def numbers(*span):
    return [f"line {n}" for n in range(*span)]


def test_the_newest_lines_are_read_again(store):
    with tier_of(store).lines("events", 16) as lines:
        assert lines.read() == []
        for n in range(100):
            lines.append([f"line {n}"])
        lines.append(["\u2028é", '{"a": 1}'])
    with tier_of(store).lines("events", 16) as again:
        assert again.read() == [*numbers(86, 100), "\u2028é", '{"a": 1}']
        again.append(numbers(100, 102))
        assert again.read()[-4:] == ["\u2028é", '{"a": 1}', *numbers(100, 102)]
    with tier_of(store).lines("others", 16) as others:
        assert others.read() == []
    assert stored_ids(store) == []


def test_lines_are_changed_and_left_out(store):
    with tier_of(store).lines("events", 16) as lines:
        lines.append(numbers(6))
        lines.rewrite(lambda line: None if line == "line 2" else line.replace("4", "four"))
        wanted = ["line 0", "line 1", "line 3", "line four", "line 5"]
        assert lines.read() == wanted
        lines.append(["line 6"])
    with tier_of(store).lines("events", 16) as again:
        assert again.read() == [*wanted, "line 6"]
        again.rewrite(lambda line: None)
        assert again.read() == []


def test_who_follows_lines_in_redis_hears_each_once_also_where_some_are_changed(valkey_server):
    tier = tier_of(valkey_server.url)
    with tier.lines("events", 16) as lines, tier.lines("events", 16) as others:
        others.append(numbers(3))
        heard = lines.after("0")
        assert [line for _, line in heard] == numbers(3)
        last = heard[-1][0]
        others.rewrite(lambda line: None if line == "line 1" else line.upper())
        assert lines.read() == ["LINE 0", "LINE 2"]
        assert lines.after(last) == []
        others.append(["line 3"])
        assert [line for _, line in lines.after(last)] == ["line 3"]


def test_where_nothing_lasts_there_are_none():
    assert tier_of("memory://").lines("events", 16) is None


def test_a_file_of_lines_has_one_writer_and_is_nobody_elses_to_read(tmp_path):
    tier = tier_of(f"file://{tmp_path}")
    path = tmp_path / ".events.jsonl"
    with tier.lines("events", 16) as lines:
        for rewrites in range(2):
            with pytest.raises(StoreError, match="another process"):
                tier.lines("events", 16)
            assert path.stat().st_mode & 0o077 == 0, rewrites
            lines.rewrite(lambda line: line)
            lines.append(["line"])
    tier.lines("events", 16).close()
    assert path.read_text() == "line\nline\n"


def test_a_file_without_a_line_leaves_no_trace(tmp_path):
    tier_of(f"file://{tmp_path}").lines("events", 16).close()
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path):
    (tmp_path / ".events.jsonl").write_text("line 0\nlin")
    with tier_of(f"file://{tmp_path}").lines("events", 16) as lines:
        lines.append(["line 1"])
        assert lines.read() == ["line 0", "lin", "line 1"]


def test_no_stream_can_have_the_name_of_a_file_of_lines(tmp_path):
    for name in (".events.jsonl", ".events.jsonl.partial"):
        with pytest.raises(StoreError, match="no dot at the start"):
            require_stream_id(name)
    for name in ("events.jsonl", "events.jsonl.partial"):
        (tmp_path / require_stream_id(name)).mkdir()
    with tier_of(f"file://{tmp_path}").lines("events", 16) as lines:
        lines.append(["line"])
        lines.rewrite(lambda line: None)
        assert lines.read() == []


@contextmanager
def files_of_at_most(num_bytes):
    """As on a full disk, the write that passes this is cut short, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def full(tmp_path):
    """Three lines in a file that can grow by four bytes."""
    with tier_of(f"file://{tmp_path}").lines("events", 16) as lines:
        lines.append(numbers(3))
        with files_of_at_most(len("line 0\n") * 3 + 4):
            yield lines


def test_a_write_that_is_cut_short_leaves_no_half_line(full):
    with pytest.raises(StoreError, match="too large"):
        full.append(["line 3"])
    full.append(["new"])
    assert full.read() == [*numbers(3), "new"]


def open_files(folder):
    """What this process has open there; elsewhere, other tests of it may open and close files."""
    opened = [os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")]
    return sorted(one for one in opened if one.startswith(str(folder)))


def test_a_rewrite_that_fails_changes_nothing_and_leaves_nothing_open(full, tmp_path):
    before = open_files(tmp_path)
    with pytest.raises(StoreError, match="too large"):
        full.rewrite(lambda line: line * 2)
    assert open_files(tmp_path) == before
    assert list(tmp_path.iterdir()) == [tmp_path / ".events.jsonl"]
    full.append(["new"])
    assert full.read() == [*numbers(3), "new"]


def test_lines_that_are_written_stand_where_the_older_cannot_go_yet(tmp_path):
    in_the_way = tmp_path / ".events.jsonl.partial"
    in_the_way.mkdir()
    with tier_of(f"file://{tmp_path}").lines("events", 16) as lines:
        for n in range(20):
            lines.append([f"line {n}"])
        assert num_lines(tmp_path) == 20
        in_the_way.rmdir()
        lines.append(["line 20"])
        assert num_lines(tmp_path) == 16
        assert lines.read() == numbers(5, 21)


def num_lines(folder):
    return (folder / ".events.jsonl").read_bytes().count(b"\n")


def test_a_file_that_could_not_be_opened_can_be_later(tmp_path):
    (tmp_path / ".events.jsonl").write_text("cut short")
    tier = tier_of(f"file://{tmp_path}")
    with files_of_at_most(len("cut short")), pytest.raises(StoreError, match="too large"):
        tier.lines("events", 16)
    tier.lines("events", 16).close()
