"""Pages that are made from the code, and links to files of the repository: run by mkdocs.

Codes and Python API come from docstrings, so that the site, `memaudit explain` and `help()` say the same.
"""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

_OUTSIDE = re.compile(r"\]\((?P<path>\.\./[^)#\s]*)(?P<anchor>#[^)]*)?\)")
_SECTION = re.compile(r"(Args|Returns|Raises|Yields):")
_KINDS = {
    "MIA": "Membership inference",
    "ATT": "Attribute inference",
    "MEM": "Memorization",
    "LNK": "Links between them",
    "CAN": "Canaries and secrets",
    "EXT": "Extraction",
    "GEN": "Generators of images",
    "DP": "Differential privacy",
    "CTL": "Controls",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from code and from files of the repository."""
    pages = {"codes.md": codes(), "api.md": api()}
    for name, source in (("contributing.md", "CONTRIBUTING.md"), ("changelog.md", "CHANGELOG.md")):
        text = (ROOT / source).read_text("utf-8")
        pages[name] = re.sub(r"\]\((?!https?:|#)(docs/)?", lambda link: "](" if link[1] else "](../", text)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links that leave the documentation to the repository.

    Raises:
        PluginError: There is no such file.
    """
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def outside(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match["path"]))
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri}: there is no {match['path']}")
        kind = "tree" if target.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{target.relative_to(ROOT)}{match['anchor'] or ''})"

    return _OUTSIDE.sub(outside, markdown)


def codes() -> str:
    """Return the page of all checks and controls, with what `memaudit explain` prints."""
    from memaudit.checks import by_code

    every = by_code()
    parts = [
        "# Every code\n",
        "What each finding and control means, with formula and source. `memaudit explain CODE` prints the same text.\n",
    ]
    for prefix, title in _KINDS.items():
        parts.append(f"## {title}\n")
        for code in sorted(code for code in every if code.startswith(prefix)):
            parts.append(f"### {code}: {every[code][0].title} {{#{code.lower()}}}\n")
            parts += [f"{_sourced(text)}\n" for text in dict.fromkeys(inspect.getdoc(c.run) or "" for c in every[code])]
    return "\n".join(parts)


def _sourced(text: str) -> str:
    return re.sub(r"^Source: ", "**Source:** ", text, flags=re.MULTILINE)


def api() -> str:
    """Return the page of all that `import memaudit` gives."""
    import memaudit

    parts = ["# Python API\n", "Everything that `import memaudit` provides. Arrays are NumPy arrays.\n"]
    for name in sorted(memaudit.__all__, key=str.lower):
        parts += _entry(name, getattr(memaudit, name), "##")
        found = getattr(memaudit, name)
        for method, value in inspect.getmembers(found) if inspect.isclass(found) else ():
            own = method in vars(found) and not method.startswith("_")
            if own and callable(value) and inspect.getdoc(value) and not isinstance(value, type):
                parts += _entry(f"{name}.{method}", value, "###")
    return "\n".join(parts)


def _entry(name: str, value: Any, level: str) -> Iterator[str]:
    yield f"{level} {name}\n"
    if callable(value) and not (inspect.isclass(value) and issubclass(value, Exception | str)):
        yield f"```python\n{_signature(name, value)}\n```\n"
    yield f"{_docstring(inspect.getdoc(value) or '')}\n"


def _signature(name: str, value: Any) -> str:
    """Return a call, with a line for each argument if it is long."""
    parameters = inspect.signature(value).parameters.values()
    given, keyword = [], False
    for parameter in (p for p in parameters if p.name not in ("self", "cls")):
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            given.append("*")
            keyword = True
        kind = parameter.annotation
        text = str(parameter.replace(annotation=parameter.empty))
        text = text if isinstance(kind, type(parameter.empty)) or not isinstance(kind, str) else _typed(text, kind)
        given.append(text)
    line = f"{name}({', '.join(given)})"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {text},\n" for text in given) + ")"


def _typed(text: str, kind: str) -> str:
    name, equals, default = text.partition("=")
    return f"{name}: {kind} = {default}" if equals else f"{name}: {kind}"


def _docstring(text: str) -> str:
    """Return a docstring of Google's style as Markdown: its arguments and errors as lists."""
    lines: list[str] = []
    listing = False
    for line in text.splitlines():
        section = _SECTION.fullmatch(line)
        item = re.fullmatch(r"    (\*{0,2}[\w., ]+?): (.*)", line) if listing else None
        if section:
            lines += [f"**{section[1]}**", ""]
            listing = True
        elif item:
            lines.append(f"* `{item[1]}`: {item[2]}")
        elif listing and line.startswith("        "):
            lines.append(f"  {line.strip()}")
        else:
            listing = (listing and not line) or (listing and line.startswith("    "))
            lines.append(line)
    return _sourced("\n".join(lines))
