"""Make the picture of README: the HTML view of an extraction, photographed by headless Chromium.

Run ``python docs/tools/make_picture.py`` with Chromium on the path; it writes ``docs/images/extraction.png``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SENTENCES = (
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas.",
    "Steve Jobs, chairman of Apple, was born in San Francisco.",
)
OUTPUT = Path(__file__).resolve().parents[1] / "images" / "extraction.png"


def main() -> int:
    """Write the picture; return the exit status."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.stderr.write("needs Chromium on the path\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        extract = [sys.executable, "-m", "trimf", "extract", "--triggers", "exact", *SENTENCES]
        subprocess.run([*extract, "--format", "html", "--output", str(page)], check=True)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2"]
        options += ["--no-first-run", "--disable-background-networking", f"--user-data-dir={folder}/profile"]
        command = [browser, *options, "--window-size=860,440", f"--screenshot={OUTPUT}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
