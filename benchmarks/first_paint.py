"""How soon a browser that knows nothing of the page yet paints it (`first-contentful-paint`): of cold loads of a server
that runs, and again with a processor that is some times as slow.

    python benchmarks/first_paint.py http://127.0.0.1:8000/ --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

PAINTED = """() => new Promise((resolve) => new PerformanceObserver((seen) => {
  const [paint] = seen.getEntriesByName('first-contentful-paint');
  if (paint) resolve(paint.startTime);
}).observe({ type: 'paint', buffered: true }))"""
BYTES = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .reduce((sum, { transferSize }) => sum + transferSize, 0)"""


def cold_load(browser: Any, address: str, slower: float) -> tuple[float, int]:
    """Milliseconds, and bytes with their heads."""
    context = browser.new_context()
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.goto(address)
    page.wait_for_selector("language-fields")  # the last thing that is drawn
    found = page.evaluate(PAINTED), page.evaluate(BYTES)
    context.close()
    return found


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of a server that asks for no key")
    parser.add_argument("--chromium", default=os.environ.get("DRAGOMAN_CHROMIUM"), help="the browser; Playwright's own")
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--slower", type=float, nargs="+", default=[1, 4], help="times, of the page's processor")
    options = parser.parse_args(given)
    print("| processor | first paint, median | range | transferred |\n|---|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        cold_load(browser, options.address, 1)  # the browser's own start
        for slower in options.slower:
            loads = [cold_load(browser, options.address, slower) for _ in range(options.loads)]
            paints, sizes = zip(*loads, strict=True)
            row = f"{median(paints):.0f} ms | {min(paints):.0f} to {max(paints):.0f} ms | {max(sizes) / 1000:.0f} kB"
            print(f"| {'as it is' if slower == 1 else f'1/{slower:g}'} | {row} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
