"""Import the client once, which takes seconds, and run each script in a child process.

Each line of standard input is a JSON list: a time limit in seconds, the files for standard output,
standard error and the called operations, the arguments. The response is a line with the exit code.
"""

import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path

import httpx
import waldur_api_client.models  # noqa: F401 - for the children

called = set()
request = httpx.Client.request


def noted(self, *args, **options):
    """Send a request, and note the operation of the client that sends it unless it is absent."""
    response = request(self, *args, **options)
    module = sys._getframe(1).f_globals["__name__"]
    if response.status_code not in {404, 405} and module.startswith("waldur_api_client.api."):
        called.add(module.removeprefix("waldur_api_client.api."))
    return response


httpx.Client.request = noted
# So the garbage collector of a child does not write to, and thereby copy, all this memory.
gc.collect()
gc.freeze()
for line in sys.stdin:
    seconds, *files, operations, argv = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        for number, path in enumerate(files, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")
        Path(operations).write_text(json.dumps(sorted(called)))
        sys.stdout.flush()
        # Taking the modules of the client apart takes most of a second.
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
