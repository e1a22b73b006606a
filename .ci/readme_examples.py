"""Run the examples of a Markdown file: every ``bash`` and ``python`` block that is not marked.

A block under a line ``<!-- not run: reason -->`` is skipped; the reason is printed. Python blocks
share one interpreter's names, as a reader would type them one after the other.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n+)?```(?P<language>bash|python)\n(?P<code>.*?)```",
    re.DOTALL,
)


def main(path: Path) -> None:
    """Run the blocks of a file in order; stop at the first that fails."""
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    names: dict[str, object] = {}
    ran = 0
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        code = block["code"]
        if block["reason"]:
            print(f"--- not run ({block['reason']}):\n{code}", flush=True)
            continue
        print(f"--- running {block['language']}:\n{code}", flush=True)
        if block["language"] == "bash":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, env=environment)
        else:
            exec(compile(code, str(path), "exec"), names)
        ran += 1
    if ran == 0:
        raise SystemExit(f"{path}: no example was run")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
