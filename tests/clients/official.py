"""An official Waldur client, under its own interpreter."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.operations import DRIVEN
from tests.support.serving import Service

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"


class Official:
    """An interpreter that has imported the client and runs scripts; see ``runner.py``."""

    def __init__(self, version: str) -> None:
        self.version = version
        interpreter = ROOT / f".venv-waldur-{version}" / "bin" / "python"
        assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
        self._runner = subprocess.Popen(
            [interpreter, SCRIPTS / "runner.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, service: Service, *arguments: object) -> Any:
        """Run a script against a service; return the JSON that it prints last."""
        files = [service.folder / name for name in ("output", "errors", "operations")]
        output, errors, operations = files
        argv = [str(word) for word in (SCRIPTS / script, service.base, *arguments)]
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        job = json.dumps([100, *map(str, files), argv])
        print(job, file=self._runner.stdin, flush=True)
        code = self._runner.stdout.readline().strip()
        assert code == "0", errors.read_text()[-3000:] + service.log.read_text()[-3000:]
        if self.version == "8.1.3":
            unused = DRIVEN.get(script, frozenset()) - set(json.loads(operations.read_text()))
            assert not unused, f"{script} does not use {unused}: correct operations.py"
        return json.loads(output.read_text().splitlines()[-1])

    def close(self) -> None:
        self._runner.communicate(timeout=10)
