"""Python files of the tests as modules."""

import importlib.util
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"


def unregistered(path: Path) -> Any:
    """Returns a file as a module that no import finds: commands import recipes of the same name from their folders."""
    spec = importlib.util.spec_from_file_location(f"unregistered_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
