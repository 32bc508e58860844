"""docs/performance.md, section by section."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
TOP = """# Performance

Written by `make bench`; medians, everything in one run, jobs taking turns. Each section can be
measured alone: `python -m bench.start`, `bench.versions`, `bench.peers`, `bench.roofline`,
`bench.text`, `bench.growth`. Start and versions are measured beside the tag before
(`--before VERSION`).
"""


def filled(page: str, part: str, text: str) -> str:
    """A page with what is between the marks of a part replaced."""
    first, last = f"<!-- measured: {part} -->", f"<!-- /measured: {part} -->"
    before, found, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not found or not end:
        raise SystemExit(f"the page has no marks '{first}' and '{last}'")
    return f"{before}{first}\n{text}\n{last}{after}"


def put(part: str, page: Path = PAGE) -> None:
    """Replaces the section that has the same heading, or adds it at the end. part: Markdown that
    begins with its heading."""
    text = page.read_text("utf-8") if page.is_file() else TOP
    head = part.partition("\n")[0]
    before, found, after = text.partition(head + "\n")
    if found:
        _, more, rest = after.partition("\n## ")
        text = before + part.rstrip() + "\n" + (f"\n## {rest}" if more else "")
    else:
        text = f"{text.rstrip()}\n\n{part.rstrip()}\n"
    page.write_text(text, encoding="utf-8")
