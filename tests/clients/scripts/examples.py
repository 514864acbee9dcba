"""Run printed programs one after the other.

Usage: examples.py BASE_URL FILE. The file contains a JSON object of programs by title. Prints the
error of each program, or an empty text, by title.
"""

import json
import pathlib
import sys
import traceback

errors = {}
for title, program in json.loads(pathlib.Path(sys.argv[2]).read_text()).items():
    try:
        exec(program, {})  # noqa: S102 - runs the examples
        errors[title] = ""
    except Exception:  # noqa: BLE001 - reported to the test
        errors[title] = traceback.format_exc()
print(json.dumps(errors))
