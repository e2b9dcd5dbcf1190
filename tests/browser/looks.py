"""Layout checks that run in the page: cut-off or overlapping elements, and text with low contrast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from browser.browser_context import DESKTOP, PHONE

SIZES = {"desktop": DESKTOP, "phone": PHONE}
SCHEMES = ("light", "dark")
TWO_FRAMES = "() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
"""Frames to wait: in the first the page gets a new colour scheme and starts its transitions."""
STILL = "() => document.getAnimations().every(one => one.playState !== 'running')"

LAYOUT = """stack => {
    const seen = element => element && element.checkVisibility() && element.getBoundingClientRect().height > 0;
    const found = stack.map(selector => [selector, document.querySelector(selector)]).filter(([, one]) => seen(one));
    const boxes = found.map(([selector, one]) => [selector, one.getBoundingClientRect()]);
    const wrong = [];
    if (document.scrollingElement.scrollWidth > innerWidth) wrong.push('the page scrolls sideways');
    if (document.scrollingElement.scrollHeight > innerHeight + 1) wrong.push('the page scrolls');
    for (const [selector, box] of boxes)
        if (box.left < -1 || box.right > innerWidth + 1 || box.top < -1 || box.bottom > innerHeight + 1)
            wrong.push(`${selector} is cut off by the window`);
    boxes.forEach(([selector, box], at) => boxes.slice(at + 1).forEach(([other, below]) => {
        if (box.bottom > below.top + 1) wrong.push(`${selector} overlaps ${other}`);
    }));
    const inside = (selector, around) => {
        const frame = document.querySelector(around)?.getBoundingClientRect();
        for (const one of document.querySelectorAll(selector)) {
            const box = one.getBoundingClientRect();
            if (seen(one) && (box.left < frame.left - 1 || box.right > frame.right + 1))
                wrong.push(`“${one.innerText || one.tagName}” sticks out of ${around}`);
        }
    };
    inside('#chatbot .message, #chatbot .message-buttons, #chatbot textarea', '#chatbot');
    inside('#feedback-panel label, #feedback-panel textarea, #feedback-panel button', '#feedback-panel');
    const reasons = document.querySelector('#feedback-reasons label:last-of-type');
    const comment = document.querySelector('#feedback-comment');
    if (seen(reasons) && reasons.getBoundingClientRect().bottom > comment.getBoundingClientRect().top + 1)
        wrong.push('the comment lies on the reasons');
    const range = document.createRange();
    for (const cell of document.querySelectorAll('#chatbot :is(th, td)')) {
        range.selectNodeContents(cell);
        const lines = new Set([...range.getClientRects()].map(box => Math.round(box.bottom)));
        const word = cell.innerText.trim();
        if (/^\\w+$/.test(word) && lines.size > 1) wrong.push(`the word “${word}” is broken`);
    }
    for (const name of ['feedback-about', 'bridge'])
        if (seen(document.getElementById(name))) wrong.push(`#${name} is shown`);
    for (const button of document.querySelectorAll('#chat-tab button'))
        if (seen(button) && button.innerText.trim() && button.scrollWidth > button.clientWidth + 1)
            wrong.push(`the text “${button.innerText}” is cut off`);
    return wrong;
}"""
CONTRAST = """selectors => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, at) => value * a + under[at] * (1 - a));
    const behind = element => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            layers.push(rgba(getComputedStyle(one).backgroundColor));
            if (layers.at(-1)[3] === 1) break;
        }
        return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const luminance = colour => {
        const linear = value => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.map(value => linear(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (element, pseudo) => {
        const back = behind(element), text = over(rgba(getComputedStyle(element, pseudo).color), back);
        const [dark, light] = [luminance(text), luminance(back)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const faint = [];
    for (const selector of selectors)
        for (const element of document.querySelectorAll(selector)) {
            if (!element.checkVisibility()) continue;
            for (const pseudo of element.matches('textarea') && !element.value ? ['::placeholder'] : [null])
                if (ratio(element, pseudo) < 4.5)
                    faint.push(`${selector}${pseudo ?? ''}: ${ratio(element, pseudo).toFixed(2)}`);
        }
    return faint;
}"""
OWN_TEXTS = ["h1", ".brand", "label", "input", "button", "a", ".alert", ".done", ".quiet", ".text p"]
FITS = """() => {
    const wrong = [];
    if (document.scrollingElement.scrollWidth > innerWidth) wrong.push('the page scrolls sideways');
    for (const one of document.querySelectorAll('main, main *:not([type=hidden], .scroll *)')) {
        const box = one.getBoundingClientRect();
        if (box.left < 0 || box.right > innerWidth) wrong.push(`${one.tagName} is cut off`);
    }
    for (const one of document.querySelectorAll('input:not([type=hidden]), button, a.button'))
        if (one.getBoundingClientRect().height < 40) wrong.push(`${one.innerText || one.id} is too small for a finger`);
    return wrong;
}"""


def in_each_scheme(page: Page) -> Iterator[str]:
    """Switch a page to light and then dark, as the system does; yield the scheme after all transitions."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate(TWO_FRAMES)
        page.wait_for_function(STILL)
        yield scheme


def keep_picture(page: Page, folder: Path, size: str, scheme: str, name: str) -> None:
    """Take a screenshot for review."""
    page.screenshot(path=folder / f"{size}-{scheme}" / f"{name}.png", animations="disabled")


def check_page(page: Page, folder: Path, name: str) -> None:
    """Check the layout and contrast of a server-rendered page at every window size; save screenshots."""
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in in_each_scheme(page):
            keep_picture(page, folder, size, scheme, name)
            assert page.evaluate(FITS) == []
            assert page.evaluate(CONTRAST, OWN_TEXTS) == []
