"""Page object of the Analytics tab."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from playwright.sync_api import Download, Page, expect

from browser.traffic import traffic


@dataclass
class Analytics:
    """Analytics tab of a page."""

    page: Page

    def open(self) -> Analytics:
        traffic(self.page).wait_for_end()  # the sidebar opens by then; it moves the tabs
        self.page.get_by_role("tab", name="Analytics").click()
        expect(self.page.locator("#analytics-cards .cf-card").first).to_be_visible()
        return self

    def card(self, name: str) -> str:
        """Return the figure of a card."""
        card = self.page.locator("#analytics-cards .cf-card").filter(has_text=name).first
        return card.inner_text().split("\n")[1]

    def rows(self, count: int) -> None:
        expect(self.page.locator("#analytics-feedback button[data-row]")).to_have_count(count)

    def choose(self, what: str, option: str) -> None:
        self.page.locator(f"#analytics-{what} input").click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def download(self, name: str) -> Download:
        """Return the file that the browser saves for the link of this name."""
        with self.page.expect_download() as begun:
            self.page.get_by_role("link", name=name, exact=True).click()
        return begun.value

    def downloaded(self, name: str = "Download for spreadsheets") -> list[dict[str, str]]:
        """Return the rows of a downloaded CSV file."""
        written = self.download(name).path().read_text("utf-8-sig")
        return list(csv.DictReader(io.StringIO(written, newline="")))
