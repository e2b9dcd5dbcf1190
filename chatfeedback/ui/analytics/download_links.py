"""Download links of the Analytics tab, as HTML."""

from __future__ import annotations

import html
from urllib.parse import urlencode

from chatfeedback.export.registry import FORMATS
from chatfeedback.query.filters import ResolvedFilters

EXPORT_PATH = "/export/feedback"


def download_links(filters: ResolvedFilters, annotator: str | None, *, names: bool) -> str:
    """Return the download links for the filtered feedback, the recommended file first, with advice on the choice.

    Args:
        filters: The filters of the page.
        annotator: The pseudonym of the annotator among the filters, if there is one.
        names: Add a file with annotators' names to those with pseudonyms.
    """
    parameters = {
        "since": filters.since and filters.since.isoformat(),
        "until": filters.until and filters.until.isoformat(),
        "model": filters.model,
        "annotator": annotator,
    }
    query = urlencode({name: value for name, value in parameters.items() if value})

    def link(suffix: str, text: str, css_class: str, extra_query: str = "") -> str:
        full_query = "&".join(part for part in (query, extra_query) if part)
        url = html.escape(f"{EXPORT_PATH}.{suffix}{'?' if full_query else ''}{full_query}")
        return f'<a class="{css_class}" href="{url}" aria-describedby="cf-which-file" download>{text}</a>'

    formats = sorted(FORMATS.values(), key=lambda format: not format.is_for_people)
    links = [link(format.suffix, format.link, "cf-quiet") for format in formats[1:]]
    if names:
        links += [
            link(format.suffix, "For spreadsheets, with names", "cf-quiet", "annotators=names")
            for format in formats
            if format.is_for_people
        ]
    return (
        '<div class="cf-downloads" role="group" aria-label="Download this feedback">'
        f"{link(formats[0].suffix, formats[0].link, 'cf-button cf-primary')}{''.join(links)}"
        '<p id="cf-which-file">For Excel or LibreOffice take the first: what looks like a formula is made plain text.'
        " For programs take one of the others: every text exactly as it was recorded.</p></div>"
    )
