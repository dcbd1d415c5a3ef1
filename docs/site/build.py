"""Build the site of the documentation: `python docs/site/build.py FOLDER` (pip install '.[docs]').

The repository's own pages are the site's: README.md, docs/, benchmarks/, and the executed notebooks, in the
folders they are in, so that one link serves both. A warning of the generator is an error.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "benchmarks", "minihash", "tests")  # pages, and the files that they have links to


def main(site: Path) -> None:
    """Gather the pages in a temporary folder and let MkDocs make the site of them."""
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "pages")
        pages.mkdir()
        for page in ROOT.glob("*.md"):
            shutil.copy(page, pages)
        shutil.copy(ROOT / "setup.cfg", pages)
        skipped = shutil.ignore_patterns("__pycache__", "site", "*.npz", "teachers")
        for name in FOLDERS:
            shutil.copytree(ROOT / name, pages / name, ignore=skipped)
        notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
        to_markdown = [sys.executable, "-m", "nbconvert", "--to", "markdown", "--log-level", "WARN"]
        target = str(pages / "notebooks")
        subprocess.run([*to_markdown, "--output-dir", target, *map(str, notebooks)], check=True)
        listed = ", ".join(f"notebooks/{notebook.stem}.md" for notebook in notebooks)
        shutil.copy(ROOT / "docs/site/described.py", folder)
        for page in pages.rglob("*.md"):
            page.write_text(page.read_text().replace(".ipynb)", ".md)"))
        settings = Path(folder, "mkdocs.yml")
        text = (ROOT / "docs/site/mkdocs.yml").read_text()
        settings.write_text(text.replace("NOTEBOOKS", f"[{listed}]"))
        environment = {**os.environ, "MINIHASH_PAGES": str(pages), "MINIHASH_SITE": str(site.resolve())}
        environment["NO_MKDOCS_2_WARNING"] = "1"
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(settings)]
        subprocess.run(build, check=True, env=environment, cwd=ROOT)
    for page in site.rglob("*.html"):
        page.write_text(FORMULA.sub(_mathml, page.read_text()))


FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def _mathml(formula: re.Match[str]) -> str:
    """Return a formula as MathML, which browsers show by themselves, without a script from elsewhere."""
    return convert(html.unescape(formula[2]), display="inline" if formula[1] == "span" else "block")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
