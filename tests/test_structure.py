"""The structure of the project: direction of imports, import circles, and which package uses which library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rstitch_local

PACKAGE = Path(rstitch_local.__file__).parent
ROOT = PACKAGE.parent
CHAT = ROOT / "tui" / "rstitch_tui"

# The parts that each part may import. Parts that are not listed may import all, and none may import them.
MAY_IMPORT = {
    "errors": {"sanitize"},
    "paths": set[str](),
    "sanitize": set[str](),
    "interrupts": set[str](),
    "workers": set[str](),
    "files": {"errors", "sanitize"},
    "toml_files": {"errors", "files", "sanitize"},
    "plotting": {"errors"},
    "builtin": set[str](),
    "llama": {"errors"},
    "decoding": {"errors"},
    "routing": {"decoding", "builtin", "errors", "files", "paths", "sanitize"},
    "trace": {"routing", "decoding", "llama", "errors", "files", "sanitize"},
    "catalog": {"errors", "files", "paths", "sanitize", "toml_files"},
    # `load_pair("name")` looks the name up in the catalog.
    "engine": {"trace", "routing", "llama", "decoding", "catalog", "errors", "files", "paths", "sanitize", "workers"},
    "costs": {"engine", "trace", "llama", "decoding", "catalog", "errors", "files", "paths", "sanitize"},
    "problems": {
        "engine", "trace", "catalog", "routing", "decoding", "errors", "files", "interrupts", "sanitize", "workers",
    },
    "study": {
        "problems", "engine", "trace", "llama", "routing", "decoding", "plotting", "errors", "files", "interrupts",
        "sanitize",
    },
    # The chat does not call llama.cpp: it shows the engine's steps and traces.
    "rstitch_tui": {
        "problems", "costs", "engine", "trace", "routing", "decoding", "catalog", "builtin", "errors", "files", "paths",
        "sanitize", "toml_files",
    },
    "learning": {
        "problems", "costs", "engine", "catalog", "routing", "decoding", "plotting", "errors", "files",
    },
}  # fmt: skip


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the modules that a source text imports anywhere; `package` resolves relative imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def modules() -> Iterator[tuple[Path, str, set[str]]]:
    """Yield each source file with its part and the modules it imports."""
    for path in sorted([*PACKAGE.rglob("*.py"), *CHAT.rglob("*.py")]):
        chat = path.is_relative_to(CHAT)
        relative = path.relative_to(CHAT.parent if chat else PACKAGE)
        package = ".".join([*([] if chat else ["rstitch_local"]), *relative.parts[:-1]])
        part = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        yield path, part, set(imports(path.read_text(encoding="utf-8"), package))


def part_of(name: str) -> str | None:
    """Return the part that a module belongs to; None for a module of another project."""
    top, _, rest = name.partition(".")
    if top == "rstitch_tui":
        return top
    other = rest.split(".")[0]
    exists = (PACKAGE / other).exists() or (PACKAGE / f"{other}.py").exists()
    return other if top == "rstitch_local" and other and exists else None


def test_imports_finds_all_forms() -> None:
    source = "def f():\n    from ..llama import context\nimport a.b, c\nfrom x import y\nfrom . import z\n"
    assert set(imports(source, "rstitch_local.engine")) == {
        "rstitch_local.llama", "rstitch_local.llama.context", "a.b", "c", "x", "x.y",
        "rstitch_local.engine", "rstitch_local.engine.z",
    }  # fmt: skip


def test_imports_go_one_way() -> None:
    wrong = []
    for path, part, names in modules():
        allowed = MAY_IMPORT.get(part)
        if allowed is None:
            continue
        for name in names:
            other = part_of(name)
            if other is not None and other != part and other not in allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_every_allowed_import_is_used() -> None:
    used = {(part, part_of(name)) for _, part, names in modules() for name in names}
    assert {(part, other) for part, others in MAY_IMPORT.items() for other in others} - used == set()


def test_the_allowed_imports_have_no_circle() -> None:
    assert {part for part in MAY_IMPORT if part in reachable(MAY_IMPORT, part)} == set()


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Remove the bodies of `if TYPE_CHECKING:`, which never run."""

    class Dropper(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            self.generic_visit(node)
            return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    Dropper().visit(tree)
    return tree


def module_graph() -> dict[str, set[str]]:
    """Return for each module the modules of the project that it imports at run time, also inside functions."""
    paths = {}
    for path, _, _ in modules():
        parts = path.relative_to(CHAT.parent if path.is_relative_to(CHAT) else ROOT).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in paths.items():
        tree = without_type_checking(ast.parse(path.read_text(encoding="utf-8")))
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        named = [set(imports(ast.unparse(node), package)) & set(paths) for node in single_imports(tree)]
        # `from package import module` names both, and imports the package itself only if `module` is not a module.
        graph[name] = {max(found, key=len) for found in named if found}
    return graph


def single_imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all import statements, split into statements of one name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (ast.Import([alias]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the nodes that can be reached from `start` by at least one edge."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def test_reachable_is_transitive() -> None:
    assert reachable({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, "a") == {"b", "c"}


def test_type_checking_imports_are_not_counted() -> None:
    source = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    import c\n"
    assert set(imports(ast.unparse(without_type_checking(ast.parse(source))), "x")) == {"b", "c"}


def test_modules_have_no_import_circle() -> None:
    graph = module_graph()
    assert {name for name in graph if name in reachable(graph, name)} == set()


def test_only_the_app_imports_screens() -> None:
    """The app and `dialogs`, which opens screens for it; screens import each other, widgets and actions none."""
    screens = "rstitch_tui.screens."
    outside = {name: names for name, names in module_graph().items() if not name.startswith(screens)}
    users = {name for name, names in outside.items() if any(other.startswith(screens) for other in names)}
    assert users == {"rstitch_tui.app", "rstitch_tui.dialogs"}


def test_no_command_imports_another() -> None:
    graph = module_graph()
    prefix = "rstitch_local.commands."
    commands = {name for name in graph[f"{prefix}main"] if name.startswith(prefix)} - {f"{prefix}console"}
    assert {f"{prefix}ask", f"{prefix}solve", f"{prefix}pairs"} < commands
    users = {name: graph[name] & commands for name in graph if name != f"{prefix}main"}
    assert {name: others for name, others in users.items() if others} == {}


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        ("llama_cpp", {"llama"}),
        ("jinja2", {"llama"}),
        ("huggingface_hub", {"catalog"}),
        ("typer", {"commands"}),
        ("math_verify", {"problems"}),
        ("textual", {"rstitch_tui"}),
        ("markdown_it", {"rstitch_tui"}),
        ("matplotlib", {"study", "learning", "plotting"}),
        ("scipy", {"study"}),
        ("torch", {"learning"}),
    ],
)
def test_a_library_is_imported_by_its_parts_only(library: str, parts: set[str]) -> None:
    users = {part for _, part, names in modules() if any(name.split(".")[0] == library for name in names)}
    assert users <= parts


@pytest.mark.parametrize("part", ["decoding", "routing", "builtin", "errors", "paths"])
def test_the_method_depends_on_numpy_only(part: str) -> None:
    known = sys.stdlib_module_names | {"numpy", "rstitch_local", "platformdirs"}
    for path, module_part, names in modules():
        if module_part == part:
            assert {name for name in names if name.split(".")[0] not in known} == set(), path


def loaded_by(script: str) -> set[str]:
    probe = f"import sys\n{script}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


HEAVY = {
    "numpy", "pydantic", "llama_cpp", "jinja2", "huggingface_hub", "math_verify", "sympy", "torch", "matplotlib",
    "scipy",
}  # fmt: skip


@pytest.mark.parametrize(
    "script",
    [
        "import rstitch_local",
        "from rstitch_local.commands.main import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass",
    ],
)
def test_nothing_heavy_is_imported_early(script: str) -> None:
    loaded = loaded_by(script)
    assert "rstitch_local" in loaded
    assert loaded & HEAVY == set()


def test_the_help_of_a_command_imports_nothing_heavy() -> None:
    loaded = loaded_by(
        "from rstitch_local.commands.main import app\ntry:\n    app(['ask', '--help'])\nexcept SystemExit:\n    pass"
    )
    # Newer versions of Typer use pydantic to parse options.
    assert loaded & HEAVY <= {"pydantic"}


def test_the_method_runs_without_llama_cpp() -> None:
    loaded = loaded_by("import rstitch_local.decoding.trajectory, rstitch_local.routing.rules")
    assert "numpy" in loaded
    assert "llama_cpp" not in loaded


def test_public_names_are_imported_lazily() -> None:
    assert callable(rstitch_local.load_pair)
    assert rstitch_local.Pair.__module__ == "rstitch_local.engine.pair"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rstitch_local.no_such_name
