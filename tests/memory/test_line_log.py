"""Lines beside the streams of a store: the newest, over restarts, in files and in Redis."""

import pytest

from memory import StoreError, stored_ids, tier_of


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


def test_where_nothing_lasts_there_are_none():
    assert tier_of("memory://").lines("events", 16) is None


def test_a_file_of_lines_has_one_writer_and_is_nobody_elses_to_read(tmp_path):
    tier = tier_of(f"file://{tmp_path}")
    path = tmp_path / "events.jsonl"
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
    (tmp_path / "events.jsonl").write_text("line 0\nlin")
    with tier_of(f"file://{tmp_path}").lines("events", 16) as lines:
        lines.append(["line 1"])
        assert lines.read() == ["line 0", "lin", "line 1"]
