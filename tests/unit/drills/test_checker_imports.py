"""The checker's independence."""

import ast
import sys
from pathlib import Path

from standfest.emergency.drills import checker

ALLOWED = {*sys.stdlib_module_names, "psycopg", "aiohttp"}


def test_imports_nothing_of_the_product() -> None:
    """The checker shares no code with what it judges: the standard library, a driver, an HTTP client."""
    modules = sorted(Path(checker.__path__[0]).glob("*.py"))
    assert modules
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = {str(node.module).partition(".")[0]}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, f"{module.name} imports from outside its package"
                continue
            else:
                continue
            assert names <= ALLOWED, f"{module.name} imports {names - ALLOWED}"
