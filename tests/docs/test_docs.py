"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted(p for p in (ROOT / "docs").rglob("*.md"))
PROSE = [*DOCS, *ROOT.glob("*.md")]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says(generate: ModuleType) -> None:
    pages: dict[str, str] = generate.pages()
    there = {p.name: p.read_text() for p in (ROOT / "docs" / "reference").glob("*.md")}
    assert set(there) == set(pages)
    for name, text in pages.items():
        assert there[name] == text, f"docs/reference/{name} is old; run `make docs`"


@pytest.mark.parametrize("page", PROSE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PROSE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_the_documentation_exists(page: Path) -> None:
    from tocsin.cli.entry import COMMANDS

    for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for name in re.findall(r"(?:^|[$|;&] *)tocsin ([a-z]+)", block, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: tocsin {name}"


def test_the_webhook_example_accepts_what_we_send_and_nothing_else() -> None:
    import time

    from tocsin.alerts.channels import sign

    text = (ROOT / "docs" / "how-to" / "webhook.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(code, names)
    genuine = names["genuine"]
    assert callable(genuine)
    now = int(time.time())
    assert genuine("s", sign("s", now, b"body"), b"body")
    assert not genuine("s", sign("s", now, b"body"), b"other")
    assert not genuine("s", sign("s", now - 400, b"body"), b"body")


def test_each_decision_is_numbered_once() -> None:
    numbers = [p.name[:4] for p in (ROOT / "docs" / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))
    assert all(number.isdigit() for number in numbers)


def test_requirement_files_hold_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        for pinned in re.findall(r"^[a-z0-9][^\n]*==[^\n]*", text, re.MULTILINE | re.IGNORECASE):
            assert pinned.rstrip().endswith("\\"), f"{path.name}: no hash for {pinned}"
