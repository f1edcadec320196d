"""`vstream pull` against a hub on loopback; and who is at fault where it gives nothing."""

import pytest
from command_line import vstream
from processes import Process
from tiny_checkpoints import save_tiny_checkpoint
from tiny_hub import COMMIT, tiny_hub

NAME = "owner/tiny"
SAYS_NOTHING_OF_OTHERS = ("Traceback", "HTTP", "Error:", "huggingface_hub", "httpx", "Errno")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_checkpoint("llava_onevision", folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(hub_url, home, *arguments):
    process = Process(
        *arguments, HF_ENDPOINT=hub_url, HF_HOME=str(home), HF_HUB_OFFLINE="0", warm=False
    )
    code = process.wait()
    for words in SAYS_NOTHING_OF_OTHERS:
        assert words not in "".join(process.out + process.err)
    return code, process.out, "".join(process.err)


def test_a_model_is_fetched_once_whole_and_loads(files, tmp_path):
    with tiny_hub(NAME, files) as hub:
        code, out, told = run(hub.url, tmp_path, "pull", NAME)
        assert code == 0, told
        assert COMMIT in told
        assert "all checksums match" in told
        assert len(told.splitlines()) == 2, "without a terminal there are no bars"
        folder = out[-1].strip()
        assert sorted(hub.fetched) == sorted(files)
        code, out, _ = run(hub.url, tmp_path, "pull", NAME, "--revision", COMMIT)
        assert (code, out[-1].strip()) == (0, folder)
        assert len(hub.fetched) == len(files), "nothing is fetched twice"
    assert "llava_onevision" in vstream("doctor", "--model", folder).out


def test_what_breaks_off_goes_on(tmp_path):
    piece = 10 << 20  # so much is written at a time
    large = {"config.json": b"{}", "model.safetensors": bytes(2 * piece)}
    with tiny_hub(NAME, large, breaks_at=piece + 1) as hub:
        code, _, told = run(hub.url, tmp_path, "pull", NAME)
    assert code == 0, told
    assert hub.ranges == [f"bytes={piece}-"]


def test_a_file_that_is_another_one_is_told_and_removed(files, tmp_path):
    with tiny_hub(NAME, files, damaged={"model.safetensors"}) as hub:
        code, _, told = run(hub.url, tmp_path, "pull", NAME)
        assert code == 1
        assert "model.safetensors: not what" in told
        hub.damaged.clear()
        code, _, told = run(hub.url, tmp_path, "pull", NAME)
        assert code == 0, told


@pytest.mark.parametrize(
    ("how", "arguments", "fault"),
    [
        ({}, ("owner/other",), "the name is at fault"),
        ({}, ("a/b/c",), "the name is at fault"),
        ({}, (NAME, "--revision", "gone"), "the revision is at fault"),
        ({"status": 503}, (NAME,), "is at fault: it answered 503"),
        (None, (NAME,), "the network is at fault"),
    ],
)
def test_it_is_said_who_is_at_fault(how, arguments, fault, files, tmp_path):
    if how is None:
        code, _, told = run("http://127.0.0.1:1", tmp_path, "pull", *arguments)
    else:
        with tiny_hub(NAME, files, **how) as hub:
            code, _, told = run(hub.url, tmp_path, "pull", *arguments)
    assert code == 1
    assert fault in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("command", [("serve", NAME, "--port", "0"), ("doctor", "--model", NAME)])
def test_whoever_loads_it_says_so_too(command, tmp_path):
    code, out, told = run("http://127.0.0.1:1", tmp_path, *command)
    assert code == 1
    assert "the network is at fault" in told + "".join(out)


def test_a_directory_is_not_pulled(tmp_path):
    told = vstream("pull", tmp_path)
    assert told.code == 1
    assert "nothing to pull" in told.err
