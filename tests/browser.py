# SPDX-License-Identifier: Apache-2.0
"""Uses the page of an answer as a person would, in headless Chromium: python -m tests.browser OUT/clip/index.html

It needs `pip install playwright` and a Chromium or Chrome on the PATH. `--axe=axe.min.js` (npm install axe-core) also
tests accessibility. `--shots=FOLDER` keeps a picture of the page, light and dark, and 390 pixels wide.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VIEWS = (('light', 1280), ('dark', 1280), ('light', 390))  # colours, and the width of the window
_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
_STATE = """() => {
  const video = document.getElementById('player'), chart = document.querySelector('.chart');
  return {
    video: video && !video.hidden ? video.currentTime : null,
    slider: Number(chart.getAttribute('aria-valuenow')), text: chart.getAttribute('aria-valuetext'),
  };
}"""


def find_browser() -> str | None:
    """Returns the program of a browser, or None."""
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Opens a headless browser without a sandbox, because it runs as root in containers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=['--no-sandbox'])
        yield browser
        browser.close()


def use_page(browser: Any, path: Path, colours: str, width: int, shot: Path | None = None) -> dict[str, Any]:
    """Opens a page from its file, clicks, uses the keys and plays.

    Args:
      browser: of `open_browser`.
      path: the page.
      colours: `light` or `dark`.
      width: of the window, in pixels.
      shot: PNG to write, or None.

    Returns:
      `messages`: of the console, errors and dialogs. `requests`: addresses that are not files. `width`: of the content.
      `states`: the times of the video and of the slider, and its text, after each action that moves them.
      `played`: seconds that the video moved on while it played.
    """
    context = browser.new_context(color_scheme=colours, viewport={'width': width, 'height': 900})
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on('console', lambda message: messages.append(message.text))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('dialog', lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(path.resolve().as_uri())
    page.wait_for_timeout(300)
    states, played = _move(page) if page.query_selector('.chart') else ({}, 0.0)
    if shot:
        page.evaluate('scrollTo(0, 0)')
        page.screenshot(path=str(shot), full_page=True)
    content = page.evaluate('document.documentElement.scrollWidth')
    context.close()
    outside = [address for address in requests if not address.startswith(('file:', 'data:'))]
    return {'messages': messages, 'requests': outside, 'width': content, 'states': states, 'played': played}


def _move(page: Any) -> tuple[dict[str, dict[str, Any]], float]:
    states = {}
    has_video = page.evaluate("() => { const v = document.getElementById('player'); return !!v && !v.hidden }")
    if has_video:
        _wait_for(page, "document.getElementById('player').readyState > 0")
        page.evaluate("document.getElementById('player').muted = true")
    chart = page.query_selector('.chart')
    chart.scroll_into_view_if_needed()
    frame = chart.bounding_box()
    left = 62 if frame['width'] < 500 else 78  # pixels, of the names
    page.mouse.click(frame['x'] + left + (frame['width'] - left) / 2, frame['y'] + 12)
    states['click'] = page.evaluate(_STATE)
    chart.focus()
    for key in ('Home', 'ArrowRight', 'Shift+ArrowRight', 'ArrowLeft', 'End', 'PageDown', 'PageUp', 'Home'):
        page.keyboard.press(key)
        states[key] = page.evaluate(_STATE)
    page.click('summary >> nth=0')
    page.click('[data-seek] >> nth=1')
    states['row'] = page.evaluate(_STATE)
    if not has_video:
        return states, 0.0
    chart.focus()
    before = page.evaluate(_STATE)['video']
    page.keyboard.press(' ')
    _wait_for(page, f"document.getElementById('player').currentTime > {before} + 0.3")
    page.keyboard.press(' ')
    return states, page.evaluate(_STATE)['video'] - before


def _wait_for(page: Any, condition: str) -> None:
    """Waits up to 10 seconds. Playwright's own way of waiting runs text, which the page forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise TimeoutError(condition)


def find_faults(browser: Any, path: Path, axe: Path, colours: str, width: int) -> list[str]:
    """Returns the faults that axe-core finds in a page with all its tables open."""
    # The page allows no other script, so the test has to pass over its policy.
    context = browser.new_context(
        color_scheme=colours, viewport={'width': width, 'height': 900}, bypass_csp=True, reduced_motion='reduce'
    )
    page = context.new_page()
    page.goto(path.resolve().as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate(axe.read_text(encoding='utf-8'))
    found = page.evaluate('axe.run()')['violations']
    context.close()
    return [f'{one["impact"]}: {one["id"]}: {one["nodes"][0]["html"]}' for one in found]


def main() -> int:
    parser = argparse.ArgumentParser(description='Uses pages of answers in headless Chromium')
    parser.add_argument('pages', nargs='+', type=Path)
    parser.add_argument('--axe', type=Path)
    parser.add_argument('--shots', type=Path)
    args = parser.parse_args()
    failed = False
    with open_browser() as browser:
        for number, path in enumerate(args.pages):
            for colours, width in VIEWS:
                if args.shots:
                    args.shots.mkdir(parents=True, exist_ok=True)
                shot = args.shots / f'{number}-{colours}-{width}.png' if args.shots else None
                found = use_page(browser, path, colours, width, shot)
                faults = find_faults(browser, path, args.axe, colours, width) if args.axe else []
                bad = bool(found['messages'] or found['requests'] or faults or found['width'] > width)
                failed |= bad
                print(f'{"FAILED" if bad else "ok"} {path} {colours} {width} px: {found} faults {faults}')
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
