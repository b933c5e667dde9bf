"""A web page in one file: nothing is loaded from elsewhere, and every text is escaped."""

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NewType

#: Text that is HTML already; only the functions here make it.
Html = NewType("Html", str)

_STYLE = """
:root { color-scheme: light dark; --text: #1d2330; --faint: #5d6675; --page: #f6f7f9;
  --card: #ffffff; --line: #dfe3ea; --accent: #2467b3; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ef; --faint: #98a2b3;
  --page: #14171d; --card: #1d2129; --line: #343b48; --accent: #7db4f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 54rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0.5rem 0 0; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 0 0 0.6rem; font-size: 1.1rem; }
.lead { margin: 0.3rem 0 1rem; color: var(--faint); }
section { margin: 1rem 0; padding: 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 0.6rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.8rem;
  margin: 0; }
dt { color: var(--faint); font-size: 0.85rem; }
dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; overflow-wrap: normal; }
th { color: var(--faint); font-weight: 500; }
.figures { white-space: nowrap; }
pre { margin: 0.4rem 0; padding: 0.7rem; background: var(--page); border-radius: 0.4rem;
  font-size: 0.85rem; white-space: pre-wrap; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; padding: 0.3rem;
  background: #ffffff; border-radius: 0.4rem; }
summary { cursor: pointer; color: var(--accent); }
"""


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Returns the few figures that matter most, large: (what, value)."""
    cells = (f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in pairs)
    return Html(f"<dl>{''.join(cells)}</dl>")


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> Html:
    """Returns a table; without a header the first cell of each row names the row."""
    parts = [_row(_cell(text, "th") for text in header)] if header else []
    for first, *others in rows:
        cells = [_cell(first, "td" if header else "th"), *(_cell(text, "td") for text in others)]
        parts.append(_row(cells))
    kind = "wide figures" if header else "wide"
    return Html(f'<div class="{kind}"><table>{"".join(parts)}</table></div>')


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: str, tag: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def preformatted(text: str) -> Html:
    """Returns text with its own lines, in letters of one width."""
    # A browser drops a line break right after the tag.
    return Html(f"<pre>\n{escape(text)}</pre>")


def paragraph(text: str) -> Html:
    """Returns a paragraph."""
    return Html(f"<p>{escape(text)}</p>")


def picture(png: bytes, description: str) -> Html:
    """Returns a picture, its bytes inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return Html(f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">')


def folded(summary: str, content: Html) -> Html:
    """Returns what is shown once it is asked for."""
    return Html(f"<details><summary>{escape(summary)}</summary>{content}</details>")


def section(heading: str, *content: Html) -> Html:
    """Returns a part of a page."""
    return Html(f"<section><h2>{escape(heading)}</h2>{''.join(content)}</section>")


def write_page(
    path: str | os.PathLike[str], title: str, lead: str, sections: Iterable[Html]
) -> None:
    """Writes a page that browsers show alike in bright and dark, on a desk and on a phone.

    Its security policy forbids scripts and every request, whatever the texts contain.

    Args:
        path: where to.
        title: the heading.
        lead: a line below it.
        sections: see `section`.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )
    # Texts may hold halves of surrogate pairs, which UTF-8 has no bytes for.
    Path(path).write_text(page, encoding="utf-8", errors="replace")
