"""The official client of a version: tells stories, under an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.serving import Service

ROOT = Path(__file__).parents[2]
STORIES = Path(__file__).parent / "stories"


class Official:
    """An interpreter that has read the client once, for all stories; see ``teller.py``."""

    def __init__(self, version: str) -> None:
        self.version = version
        interpreter = ROOT / f".venv-waldur-{version}" / "bin" / "python"
        assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
        self._teller = subprocess.Popen(
            [interpreter, STORIES / "teller.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, story: str, service: Service, *words: object) -> Any:
        """Tell a story of a service; give what it ends with."""
        said, complaints = service.folder / "said", service.folder / "complaints"
        argv = [STORIES / story, service.base, *words]
        asked = [100, str(said), str(complaints), [str(word) for word in argv]]
        assert self._teller.stdin is not None
        assert self._teller.stdout is not None
        print(json.dumps(asked), file=self._teller.stdin, flush=True)
        code = self._teller.stdout.readline().strip()
        assert code == "0", complaints.read_text()[-3000:] + service.log.read_text()[-3000:]
        return json.loads(said.read_text().splitlines()[-1])

    def close(self) -> None:
        self._teller.communicate(timeout=10)
