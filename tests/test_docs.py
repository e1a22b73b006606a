"""The pages: links lead somewhere, what they name exists, examples use the public API alone."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import emodc
import write_other_data
import write_outliers
import write_results
import write_study

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = ROOT / "src" / "emodc"
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

CODE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
MODULE = re.compile(r"(?<!\.)\bemodc(?:\.[A-Za-z_]\w*)+")
FILES = {"emodc.json"}  # named like a module


def prose(page: Path) -> str:
    return CODE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def find(dotted: str) -> None:
    """Import what a dotted path names: modules as far as they go, then attributes."""
    found, parts = emodc, dotted.split(".")[1:]
    for number, part in enumerate(parts):
        if not hasattr(found, part):
            import_module(".".join(["emodc", *parts[: number + 1]]))
        found = getattr(found, part)


def examples() -> Iterator[tuple[str, str]]:
    for name, page in zip(NAMES, PAGES, strict=True):
        for language, code in CODE.findall(page.read_text(encoding="utf-8")):
            if language == "python":
                yield name, code


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_modules_that_are_named_exist(page: Path) -> None:
    missing = []
    for dotted in set(MODULE.findall(page.read_text(encoding="utf-8"))) - FILES:
        try:
            find(dotted)
        except (ImportError, AttributeError):
            missing.append(dotted)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_of_the_repository_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:src|scripts|benchmarks|tests|configs|docs)/[\w./-]+)`", prose(page)
    ) + re.findall(r"python ((?:scripts|benchmarks)/\w+\.py)", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_examples_import_nothing_but_the_public_api() -> None:
    hidden = []
    for name, code in examples():
        for node in ast.walk(ast.parse(code)):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "emodc":
                modules = [f"emodc.{a.name}" for a in node.names if a.name not in emodc.__all__]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            hidden += [f"{name}: {module}" for module in modules if module.startswith("emodc.")]
    assert not hidden


def test_text_has_at_most_a_hundred_columns() -> None:
    long = [
        f"{name}: {line}"
        for name, page in zip(NAMES, PAGES, strict=True)
        for line in page.read_text(encoding="utf-8").splitlines()
        if len(line) > 100 and not line.lstrip().startswith("|")
    ]
    assert not long


def test_the_architecture_is_the_one_that_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree, layers = (code for _, code in CODE.findall(page)[:2])
    named = set(re.findall(r"^ +(\w+)/", tree, re.MULTILINE))
    packages = {folder.parent.name for folder in SOURCE.rglob("__init__.py")} - {"emodc"}
    assert named == packages | {"assets"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert layers.split("\n")[:-1] == contracts["contracts"][0]["layers"]


def test_the_architecture_has_a_line_for_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = Counter(re.findall(r"\w+\.py", page[page.index("## Modules") :]))
    there = Counter(path.name for path in SOURCE.glob("*/**/*.py") if "__" not in path.name)
    assert (there - listed, listed - there) == ({}, {}), "docs/architecture.md: Modules"


def test_parts_that_scripts_write_are_up_to_date() -> None:
    parts = [write_results.rewritten(), write_study.rewritten(ROOT)]
    parts += [write_outliers.rewritten(), write_other_data.rewritten()]
    pages = {page: text for part in parts for page, text in part.items()}
    old = [page.name for page, text in pages.items() if page.read_text(encoding="utf-8") != text]
    assert not old, f"run the script in scripts/ that writes {old[0]}"


def test_contributing_names_files_that_are_there() -> None:
    named = re.findall(r"`([\w/]+\.(?:py|md|yaml))`", (ROOT / "CONTRIBUTING.md").read_text())
    placeholders = {name for name in named if "NAME" in name}
    missing = [
        name
        for name in set(named) - placeholders
        if not ((SOURCE / name).exists() or (ROOT / name).exists())
    ]
    assert not missing
    folders = {(SOURCE / name).parent for name in placeholders}
    assert all(folder.is_dir() for folder in folders)
