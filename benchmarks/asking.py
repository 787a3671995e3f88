"""What the HTTP client itself costs: every page of a poll asked for in the process, and thrown away.

The floor has no such client, so this says how much of a ratio is asking and how much is what is done with the answers.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.ours import peak_mib
from benchmarks.pages import Canned, places
from monitor.sources.http import open_client


def ask_all(folder: Path, state: str) -> float:
    asked = [(place.path, place.page) for place in places(folder, state)]
    headers = {"Authorization": "Bearer token"}
    with open_client(Canned(folder, state), {"Lw-Client": "client"}) as client:
        began = time.perf_counter()
        for path, page in asked:
            params: dict[str, str | int] = {"include_suspended": "true", "items_per_page": 200, "page": page}
            with client.stream("GET", f"https://school.example.com{path}", params=params, headers=headers) as response:
                assert response.status_code == 200
                response.read()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for every page of a poll, and do nothing with it.")
    parser.add_argument("state", choices=("first", "moved", "changed"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, help="not looked at")
    asked = parser.parse_args()
    print(json.dumps({"seconds": ask_all(asked.folder, asked.state), "mib": peak_mib()}))


if __name__ == "__main__":
    main()
