"""Pages of the documentation site that are generated: the command-line reference, and files outside docs/.

A hook for mkdocs, named in mkdocs.yml. Links between the files are rewritten to their places on the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "rstitch_local/builtin/DATA_CARD.md": "demo_pair.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    from rstitch_local.commands.reference import cli_reference

    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewritten(text, Path(source).parent)))
    files.append(File.generated(config, "cli.md", content=cli_reference()))
    return files


def rewritten(text: str, folder: Path) -> str:
    """Return a page's text with links to repository files turned into links to pages of the site.

    A link to a file that has no page becomes its text.

    Args:
        text: Markdown.
        folder: the folder of the file, relative to the repository.
    """

    def link(found: re.Match[str]) -> str:
        label, target, anchor = found.groups(default="")
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        page = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return label if page is None else f"[{label}]({page}{anchor})"

    return _LINK.sub(link, text)
