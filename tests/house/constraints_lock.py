"""Write docker/constraints.lock: what the image may install, each file by its SHA-256.

`make lock` does it; tests/house/test_constraints_lock.py says when it has to be done again. uv
resolves what pyproject.toml asks for within constraints.txt; of the files that it names, those
remain that pip takes on Linux, x86-64 or arm64, for the Python of the image.
"""

import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "docker" / "constraints.lock"
PYTHON = (3, 11)
MACHINES = ("x86_64", "aarch64")
GLIBC = 36
"""The minor version that Debian 12 has."""
TORCH_FOR_CPU = {
    "2.13.0": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    )
}
"""The wheels for CPython 3.11, x86-64 and arm64, of the index that PyTorch has for the CPU
(TORCH_INDEX): uv does not look there. The index names each with its hash."""
HEAD = """\
# Written by `make lock` out of constraints.txt; pip 26.1 or newer reads it with --require-hashes.
# For CPython {}.{} on Linux, x86-64 and arm64; of torch the builds for CUDA and those for the CPU.
"""
PIP = "pip>=26.1"
"""The first that takes a hash from a constraint."""


def wanted(project):
    """What may come into an image: by pyproject.toml, and what makes the wheel of vstream."""
    asked = [*project["build-system"]["requires"], PIP, *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        if not any(one.startswith("vstream[") for one in extra):  # those are for a checkout
            asked += extra
    return asked


def locked(pylock):
    """A file of constraints with hashes, made of uv's pylock.toml as text."""
    lines = [HEAD.format(*PYTHON)]
    for package in tomllib.loads(pylock)["packages"]:
        name, version = package["name"], package["version"]
        if hashes := sorted(_hashes(package)):
            hashes = [f"    --hash=sha256:{one}" for one in hashes]
            lines.append(" \\\n".join([f"{name}=={version}", *hashes]) + "\n")
    return "".join(lines)


def _hashes(package):
    machines = [one for one in MACHINES if _is_for(package, one)]
    files = [wheel for one in machines for wheel in _wheels(package, one)]
    if not all(_wheels(package, one) for one in machines):
        files.append(package["sdist"])
    found = {file["hashes"]["sha256"] for file in files}
    if package["name"] == "torch":
        found |= set(TORCH_FOR_CPU[package["version"]])
    return found


def _is_for(package, machine):
    version = "{}.{}".format(*PYTHON)
    here = {
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "python_version": version,
        "python_full_version": f"{version}.99",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }
    return Marker(package.get("marker", "os_name == 'posix'")).evaluate(here)


def _wheels(package, machine):
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
    platforms.append(f"linux_{machine}")
    tags = {*cpython_tags(PYTHON, platforms=platforms)}
    tags |= {*compatible_tags(PYTHON, "cp{}{}".format(*PYTHON), platforms)}
    return [
        one
        for one in package.get("wheels", [])
        if tags & parse_wheel_filename(unquote(one["url"].rpartition("/")[2]))[3]
    ]


def _resolved(uv):
    """What uv finds for all that is wanted, as pylock.toml."""
    python = "{}.{}".format(*PYTHON)
    with TemporaryDirectory() as folder:
        asked, out = Path(folder, "requirements.in"), Path(folder, "pylock.toml")
        asked.write_text("\n".join(wanted(tomllib.loads((ROOT / "pyproject.toml").read_text()))))
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--universal", asked]
        command += ["--python-version", python, "--constraint", ROOT / "constraints.txt"]
        command += ["--output-file", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return out.read_text()


if __name__ == "__main__":
    LOCK.write_text(locked(_resolved(sys.argv[1])))
