"""The rooms of `src/broker`: who imports whom, and how large files get.

The order of the rooms is read from the drawing in docs/architecture.md.
"""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
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
    assert match is not None, "the document has no block ```rooms"
    return {
        room: Place(row, column, depth)
        for row, line in enumerate(match[1].splitlines())
        for column, cell in enumerate(re.split(" {2,}", line)[0].split(" | "))
        for depth, room in enumerate(cell.split(" > "))
    }


def sources_of(package: Path) -> dict[str, str]:
    """Read all modules of a package, by dotted name."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def imports_of(sources: dict[str, str]) -> list[Import]:
    """List what modules import of each other, in functions and for type checking as well."""
    imports = set()
    for importer, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{importer} imports by a relative name"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            # The last part may be a name in a module and no module itself.
            modules = [name if name in sources else name.rpartition(".")[0] for name in names]
            imports |= {Import(importer, module) for module in modules if module in sources}
    return sorted(imports)


def wrong_imports(imports: list[Import], drawing: dict[str, Place]) -> list[str]:
    """Say in a sentence of each import that breaks the order why it does."""
    return [
        f"{importer} imports {imported}, but {reason}"
        for importer, imported in imports
        if (reason := _reason(_room(importer, drawing), _room(imported, drawing), drawing))
    ]


def _room(module: str, drawing: dict[str, Place]) -> str:
    """Return the innermost room drawn that the module is in."""
    package, _, inside = module.partition(".")
    if inside in {"", "__main__"}:
        return package
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


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return imports_of(sources_of(PACKAGE))


def test_rooms_import_only_rooms_drawn_below(imports: list[Import]) -> None:
    wrong = wrong_imports(imports, read_drawing(DOCUMENT))
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle(imports: list[Import]) -> None:
    sorter = TopologicalSorter[str]()
    for importer, imported in imports:
        sorter.add(importer, imported)
    sorter.prepare()  # raises CycleError, which names them


def test_rooms_that_are_drawn_exist() -> None:
    drawn = read_drawing(DOCUMENT).keys() - {"broker"}
    assert {f"broker.{room}" for room in drawn} <= sources_of(PACKAGE).keys()


def test_files_that_the_document_names_exist() -> None:
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", DOCUMENT)
    assert len(named) > 20
    assert not [file for file in named if not any((at / file).exists() for at in (PACKAGE, ROOT))]


def test_files_are_short() -> None:
    lengths = {name: len(source.splitlines()) for name, source in sources_of(PACKAGE).items()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_the_root_of_the_package_holds_few_files() -> None:
    files = sorted(path.name for path in PACKAGE.iterdir() if path.is_file())
    assert len(files) <= MAX_FILES_IN_THE_ROOT, files


DRAWN = """
```rooms
shop                     the face
till                     what it is paid at
left | right > right.low  two shelves
cellar
```
"""
UPWARDS = "cellar lies below till"


@pytest.mark.parametrize(
    ("importer", "line", "reason"),
    [
        ("cellar", "import shop.till.drawer", UPWARDS),
        ("cellar", "from shop.till import drawer", UPWARDS),
        ("cellar", "from shop.till.drawer import COINS", UPWARDS),
        ("cellar", "def late():\n    from shop.till.drawer import COINS", UPWARDS),
        ("cellar", "if TYPE_CHECKING:\n    from shop.till.drawer import COINS", UPWARDS),
        ("till.drawer", "from shop import pay", "till lies below shop"),
        ("left.a", "import shop.right.low.b", "left and right.low are siblings"),
        ("right.low.b", "import shop.left.a", "right.low and left are siblings"),
        ("right.low.b", "import shop.right.c", "right.low lies below right"),
        ("right.c", "import shop.right.low.b, shop.cellar", None),
        ("left.a", "import shop.left, html", None),
    ],
)
def test_an_import_upwards_is_named_in_a_sentence(
    importer: str, line: str, reason: str | None
) -> None:
    modules = ("shop", "shop.till.drawer", "shop.left", "shop.left.a", "shop.cellar")
    sources = dict.fromkeys((*modules, "shop.right.c", "shop.right.low.b"), "")
    imports = imports_of(sources | {f"shop.{importer}": line})
    wrong = wrong_imports(imports, read_drawing(DRAWN))
    assert [sentence.split(", but ")[1] for sentence in wrong] == ([reason] if reason else [])
