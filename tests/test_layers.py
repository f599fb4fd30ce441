"""The rooms of `src/broker`: who imports whom, and how large files get.

The order of the rooms is read from the drawing in docs/architecture.md.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "src" / "broker"
MAX_LINES = 350
MAX_FILES_IN_THE_ROOT = 6


class Place(NamedTuple):
    """Where a room is drawn: rows count from the top, and depth within a column as well."""

    row: int
    column: int
    depth: int


class Import(NamedTuple):
    importer: str
    imported: str


def read_drawing(document: str) -> dict[str, Place]:
    """Read the rooms: a line is rooms, two spaces or the end, and what they hold."""
    match = re.search(r"^```rooms\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
    assert match is not None, "docs/architecture.md has no block ```rooms"
    return {
        room: Place(row, column, depth)
        for row, line in enumerate(match[1].splitlines())
        for column, cell in enumerate(_rooms(line).split(" | "))
        for depth, room in enumerate(cell.split(" > "))
    }


def _rooms(line: str) -> str:
    match = re.match(r"[\w.]+(?: [|>] [\w.]+)*", line)
    assert match is not None, f"no room in the line {line!r} of the drawing"
    return match[0]


def modules_of(package: Path) -> dict[str, Path]:
    """Find the file of each module of a package, by dotted name."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in sorted(package.rglob("*.py"))
    }


def imports_of(modules: dict[str, Path]) -> list[Import]:
    """List what modules import of each other, in functions and for type checking as well."""
    return sorted(
        {
            Import(name, imported)
            for name, path in modules.items()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for imported in _imported(node, within=_package(name, path))
            if imported.split(".")[0] == name.split(".")[0]
            for imported in [_module(imported, modules)]
        }
    )


def _package(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _imported(node: ast.AST, within: str) -> Iterator[str]:
    """Yield full names; the last part may be a name in a module and no module itself."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = within.split(".")[: len(within.split(".")) + 1 - node.level] if node.level else []
        source = [*above, *filter(None, [node.module])]
        yield from (".".join([*source, alias.name]) for alias in node.names)


def _module(name: str, modules: dict[str, Path]) -> str:
    return name if name in modules else name.rpartition(".")[0]


def wrong_imports(imports: list[Import], drawing: dict[str, Place]) -> list[str]:
    """Say in a sentence of each import that breaks the order why it does."""
    return [
        f"{importer} imports {imported}, but {reason}"
        for importer, imported in imports
        if (reason := _reason(_room(importer, drawing), _room(imported, drawing), drawing))
    ]


def _room(module: str, drawing: dict[str, Place]) -> str:
    """Return the innermost room drawn that the module is in."""
    inside = module.split(".", 1)[1] if "." in module else ""
    if inside in {"", "__main__"}:
        return module.split(".", maxsplit=1)[0]
    around = [room for room in drawing if f"{inside}.".startswith(f"{room}.")]
    assert around, f"{module} is in no room of docs/architecture.md"
    return max(around, key=len)


def _reason(upper: str, lower: str, drawing: dict[str, Place]) -> str | None:
    importer, imported = drawing[upper], drawing[lower]
    if importer.row == imported.row and importer.column != imported.column:
        return f"{upper} and {lower} are siblings"
    if imported < importer:
        return f"{upper} lies below {lower}"
    return None


def find_circle(imports: list[Import]) -> list[str] | None:
    """Find modules that import each other in a circle: the first one is also the last one."""
    after: dict[str, list[str]] = {}
    for importer, imported in imports:
        after.setdefault(importer, []).append(imported)
    done: set[str] = set()

    def search(path: list[str]) -> list[str] | None:
        for following in after.get(path[-1], []):
            if following in path:
                return [*path[path.index(following) :], following]
            if following not in done and (circle := search([*path, following])):
                return circle
        done.add(path[-1])
        return None

    return next((circle for module in after if (circle := search([module]))), None)


def long_files(modules: dict[str, Path]) -> list[str]:
    """Name the files above MAX_LINES."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules.items()
    }
    return [f"{name} has {length} lines" for name, length in lengths.items() if length > MAX_LINES]


def test_rooms_import_only_rooms_drawn_below() -> None:
    wrong = wrong_imports(
        imports_of(modules_of(PACKAGE)), read_drawing(DRAWING.read_text(encoding="utf-8"))
    )
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    circle = find_circle(imports_of(modules_of(PACKAGE)))
    assert circle is None, " imports ".join(circle)


def test_rooms_that_are_drawn_exist() -> None:
    drawn = read_drawing(DRAWING.read_text(encoding="utf-8")).keys()
    assert {f"broker.{room}" for room in drawn - {"broker"}} <= modules_of(PACKAGE).keys()


def test_files_that_the_document_names_exist() -> None:
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", DRAWING.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert not [file for file in named if not any((at / file).exists() for at in (PACKAGE, ROOT))]


def test_files_are_short() -> None:
    long = long_files(modules_of(PACKAGE))
    assert not long, "\n".join(long)


def test_the_root_of_the_package_holds_few_files() -> None:
    files = sorted(path.name for path in PACKAGE.iterdir() if path.is_file())
    assert len(files) <= MAX_FILES_IN_THE_ROOT, files


DRAWN = """
```rooms
shop                     the face
till                     what it is paid at
left | right > right.low two shelves
cellar
```
"""


def shop(tmp_path: Path, **sources: str) -> list[Import]:
    """Lay out a package whose modules are named with `__` for a dot, and return its imports."""
    for name, source in {"__init__": "", "cellar": "", **sources}.items():
        path = tmp_path / "shop" / (name if name == "__init__" else name.replace("__", "/"))
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return imports_of(modules_of(tmp_path / "shop"))


@pytest.mark.parametrize(
    "line",
    [
        "import shop.till.drawer",
        "from shop.till import drawer",
        "from shop.till.drawer import COINS",
        "from .till import drawer",
        "def late():\n    from shop.till.drawer import COINS",
        "if TYPE_CHECKING:\n    from shop.till.drawer import COINS",
    ],
)
def test_an_import_upwards_is_named_in_a_sentence(tmp_path: Path, line: str) -> None:
    imports = shop(tmp_path, cellar=line, till__drawer="COINS = 3\nfrom shop import cellar")
    assert wrong_imports(imports, read_drawing(DRAWN)) == [
        "shop.cellar imports shop.till.drawer, but cellar lies below till"
    ]


def test_siblings_import_neither_each_other_nor_what_is_in_them(tmp_path: Path) -> None:
    imports = shop(
        tmp_path,
        left__a="import shop.right.low.b",
        right__low__b="from shop.left.c import d",
        left__c="d = 1",
    )
    assert wrong_imports(imports, read_drawing(DRAWN)) == [
        "shop.left.a imports shop.right.low.b, but left and right.low are siblings",
        "shop.right.low.b imports shop.left.c, but right.low and left are siblings",
    ]


def test_a_room_within_a_room_has_a_place_of_its_own(tmp_path: Path) -> None:
    imports = shop(
        tmp_path,
        right__a="import shop.right.low.b",
        right__low__b="import shop.right.c\nimport shop.cellar",
        right__c="",
    )
    assert wrong_imports(imports, read_drawing(DRAWN)) == [
        "shop.right.low.b imports shop.right.c, but right.low lies below right"
    ]


def test_the_face_is_above_all_and_imported_by_none(tmp_path: Path) -> None:
    imports = shop(
        tmp_path, __init__="from shop.till import pay", till="from shop import pay", __main__=""
    )
    assert wrong_imports(imports, read_drawing(DRAWN)) == [
        "shop.till imports shop, but till lies below shop"
    ]


def test_a_module_in_no_room_is_named(tmp_path: Path) -> None:
    imports = shop(tmp_path, attic="import shop.cellar")
    with pytest.raises(AssertionError, match=r"shop\.attic is in no room"):
        wrong_imports(imports, read_drawing(DRAWN))


def test_a_circle_is_found_within_a_room(tmp_path: Path) -> None:
    imports = shop(
        tmp_path,
        till__a="import shop.till.b\nimport shop.cellar",
        till__b="from shop.till import c",
        till__c="def late():\n    from shop.till import a",
    )
    assert find_circle(imports) == ["shop.till.a", "shop.till.b", "shop.till.c", "shop.till.a"]
    assert wrong_imports(imports, read_drawing(DRAWN)) == []


def test_what_is_reached_on_two_ways_is_no_circle(tmp_path: Path) -> None:
    imports = shop(tmp_path, a="import shop.b\nimport shop.c", b="import shop.c", c="")
    assert find_circle(imports) is None


def test_a_long_file_is_named(tmp_path: Path) -> None:
    shop(tmp_path, till__short="a = 1\n" * MAX_LINES, till__long="a = 1\n" * (MAX_LINES + 1))
    assert long_files(modules_of(tmp_path / "shop")) == [
        f"shop.till.long has {MAX_LINES + 1} lines"
    ]
