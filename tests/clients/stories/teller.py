"""Reads the client, which takes seconds, and then tells each story in a child of its own.

A line of standard input is a JSON list: the seconds that the story may take, the file for what
it says, the file for its complaints, its words. Each is answered by a line with the exit code.
"""

import json
import os
import runpy
import signal
import sys

import waldur_api_client.models  # noqa: F401 - so that the children have it

for line in sys.stdin:
    seconds, *files, words = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        for number, path in enumerate(files, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
