"""docker/constraints.lock has all that the image may install, as constraints.txt has it."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from constraints_lock import LOCK, PIP, ROOT, TORCH_FOR_CPU, locked, wanted
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins_of(text):
    found = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


PINS = pins_of((ROOT / "constraints.txt").read_text(encoding="utf-8"))
TEXT = LOCK.read_text(encoding="utf-8")
LOCKED = pins_of(TEXT)


def test_the_lock_has_the_versions_of_the_constraints():
    assert LOCKED.items() <= PINS.items(), "run `make lock`"


def test_the_lock_has_all_that_the_image_asks_for():
    """And what that asks for in turn, as far as it is installed here."""
    found = set()
    left = [Requirement(one) for one in wanted(PROJECT)]
    while left:
        asked = left.pop()
        if (asked.name, *asked.extras) in found:
            continue
        found.add((asked.name, *asked.extras))
        assert canonicalize_name(asked.name) in LOCKED, f"{asked}: run `make lock`"
        assert LOCKED[canonicalize_name(asked.name)] in asked.specifier
        try:
            needed = [Requirement(one) for one in requires(asked.name) or []]
        except PackageNotFoundError:
            continue
        for one in needed:
            extras = asked.extras or {""}
            if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(one)
    assert {("ray", "serve"), (Requirement(PIP).name,), ("hatchling",)} < found


def test_all_that_the_lock_has_comes_by_hash():
    one = r"[\w.-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(#.*\n)+({one})+", TEXT)
    assert "://" not in TEXT
    (torch,) = re.findall(r"^torch==.*(?:\n    .*)+", TEXT, re.MULTILINE)
    assert all(one in torch for one in TORCH_FOR_CPU[PINS["torch"]])


def pylock(*tags, name="one", more=""):
    """A package with a wheel for each of these tags, the digest of the n-th all n."""
    wheels = ", ".join(
        f'{{ url = "x/{name}-1.0-{one}.whl", hashes = {{ sha256 = "{str(n) * 64}" }} }}'
        for n, one in enumerate(tags)
    )
    return f'[[packages]]\nname = "{name}"\nversion = "1.0"\nwheels = [{wheels}]\n{more}'


@pytest.mark.parametrize(
    ("tags", "is_kept"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("cp311-cp311-manylinux_2_28_x86_64", True),
        ("cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64", True),
        ("cp39-abi3-manylinux_2_17_x86_64", True),
        ("cp311-cp311-manylinux_2_39_x86_64", False),
        ("cp311-cp311-manylinux_2_17_armv7l", False),
        ("cp311-cp311-musllinux_1_2_x86_64", False),
        ("cp311-cp311-macosx_14_0_arm64", False),
        ("cp311-cp311-win_amd64", False),
        ("cp312-cp312-manylinux_2_28_x86_64", False),
        ("cp312-abi3-manylinux_2_28_x86_64", False),
    ],
)
def test_a_wheel_is_kept_where_the_image_can_have_it(tags, is_kept):
    text = locked(pylock("py3-none-any", tags))
    assert "0" * 64 in text
    assert ("1" * 64 in text) == is_kept


def test_sources_are_for_a_machine_without_a_wheel():
    sdist = f'sdist = {{ hashes = {{ sha256 = "{"f" * 64}" }} }}'
    both = "cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_28_aarch64"
    assert "f" * 64 in locked(pylock(both[0], more=sdist))
    assert "f" * 64 not in locked(pylock(*both, more=sdist))


@pytest.mark.parametrize(
    ("marker", "is_kept"),
    [
        ("sys_platform == 'linux'", True),
        ("platform_machine == 'aarch64'", True),
        ("sys_platform == 'win32'", False),
        ("python_full_version < '3.11.3'", False),
    ],
)
def test_what_is_for_other_machines_is_left_out(marker, is_kept):
    text = locked(pylock("py3-none-any", more=f'marker = "{marker}"'))
    assert ("one==1.0" in text) == is_kept


def test_a_torch_whose_builds_for_the_cpu_are_not_known_is_refused():
    with pytest.raises(KeyError):
        locked(pylock("py3-none-any", name="torch"))
