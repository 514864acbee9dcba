"""Runs programs as they are printed, one after the other.

Usage: printed.py BASE_URL FILE, which holds a JSON object of programs by their titles; prints
what each of them ended with, by its title.
"""

import json
import pathlib
import sys
import traceback

told = {}
for title, program in json.loads(pathlib.Path(sys.argv[2]).read_text()).items():
    try:
        exec(program, {})  # noqa: S102 - what else is there to do with a program
        told[title] = ""
    except Exception:  # noqa: BLE001 - told to whoever asked
        told[title] = traceback.format_exc()
print(json.dumps(told))
