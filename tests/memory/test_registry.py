"""A class is found by its name in our folder or in another package, and never in two."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from memory import registry
from memory.errors import UnknownNameError
from memory.registry import Registry


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A folder with a base class, one class of ours and one file that is another package's."""
    folder = tmp_path / "shapes_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shape.py").write_text("class Shape:\n    name = ''\n")
    (folder / "circle.py").write_text(
        "from shapes_of_a_test.shape import Shape\nclass Circle(Shape):\n    name = 'circle'\n"
    )
    (tmp_path / "other_shapes.py").write_text(
        "from shapes_of_a_test.shape import Shape\nclass Square(Shape):\n    name = 'square'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = []
    monkeypatch.setattr(registry, "_installed", lambda *_: EntryPoints(points))
    from shapes_of_a_test.shape import Shape

    yield (
        Registry(Shape, "shapes", "shape"),
        lambda name, value: points.append(EntryPoint(name, value, "shapes")),
    )
    for name in [name for name in sys.modules if name.startswith(("shapes_of", "other_sh"))]:
        del sys.modules[name]


def test_a_class_is_found_in_the_folder_and_in_another_package(shapes):
    found, register = shapes
    register("square", "other_shapes:Square")
    assert found.names() == ["circle", "square"]
    assert found.find("circle").__name__ == "Circle"
    assert found.find("square").__name__ == "Square"


def test_an_unknown_name_is_refused_with_those_that_are_known(shapes):
    found, _ = shapes
    with pytest.raises(UnknownNameError, match="no shape is called 'oval'; known: circle"):
        found.find("oval")


def test_a_name_that_two_give_is_refused_with_both(shapes):
    found, register = shapes
    register("circle", "other_shapes:Square")
    with pytest.raises(UnknownNameError, match="vstream and by other_shapes:Square"):
        found.find("circle")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("square", "nowhere:Square", "cannot be loaded: No module named 'nowhere'"),
        ("square", "other_shapes:Oval", "cannot be loaded"),
        ("cube", "other_shapes:Square", "must be a Shape of that name"),
        ("path", "sys:path", "must be a Shape of that name"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_its_package(shapes, name, value, why):
    found, register = shapes
    register(name, value)
    with pytest.raises(UnknownNameError, match=f"shape '{name}' of {value} .*{why}"):
        found.find(name)
