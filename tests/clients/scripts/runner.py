"""Import the client once, which takes seconds, and run each script in a child process.

Each line of standard input is a JSON list: a time limit in seconds, the files for standard output
and standard error, the arguments. The response is a line with the exit code.
"""

import json
import os
import runpy
import signal
import sys

import waldur_api_client.models  # noqa: F401 - for the children

for line in sys.stdin:
    seconds, *files, argv = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        for number, path in enumerate(files, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
