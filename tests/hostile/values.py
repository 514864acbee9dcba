"""Unusual values and path segments, and how many of them a run tries.

In CI each field gets a few of them, different fields different ones; ``HOSTILE=long`` tries all
values in all fields.
"""

import os
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

IS_LONG: Final = os.environ.get("HOSTILE") == "long"

INJECTIONS: Final = [
    *("' OR 1=1 --", "'; DROP TABLE accounts; --", '" OR ""="', "1); SELECT pg_sleep(9)--"),
    *("\\' UNION SELECT NULL--", "%s %(name)s :name ? $1", "{{ 574177*791927 }}"),
    "${574177*791927} #{574177*791927} <%= 574177*791927 %>",
    *("{% raw %}{{ config }}{% endraw %}", "{0.__class__.__mro__}", "<script>alert(1)</script>"),
    *("\"><img src=x onerror='alert(1)'>", "javascript:alert(1)", "../../../../etc/passwd"),
    *("a\r\nBcc: victim@example.org", "%_\\"),
]
"""Code in some language that must stay text."""

STRANGE: Final = [
    *("\0", "a\0b", "\ud800", "a\udfff", "\U000e0041\U000e007f", "\u202egpj.exe", "\ufeff"),
    *("e" + "\u0301" * 300, "\u0131\u017f\ufb03", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    *("\ufdd0\uffff\U0010ffff", "\x1b[2J\x07\x08", "\u2028\u2029", "\u0663\u00b2", "x" * 100_000),
    *("9" * 5_000, "", " ", "\u3000"),
]
"""Texts that a program may fail to handle."""

NUMBERS: Final = [0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, 5e-324]
TIMES: Final = [
    *("0000-00-00", "0001-01-01", "9999-12-31T23:59:59.999999-23:59", "2024-02-30"),
    *("-0001-01-01T00:00:00Z", "1e9"),
]
OTHERS: Final[list[Any]] = [
    *(None, True, False, [], {}, [None], [[["x"]]], [{}], {"a": {"b": None}}, {"\ud800": "\0"}),
    *(["\0", "\ud800", 2**70], ["x"] * 5_000),
]
"""Neither texts nor numbers."""

VALUES: Final[list[Any]] = [*INJECTIONS, *STRANGE, *NUMBERS, *TIMES, *OTHERS]
TEXTS: Final = [*INJECTIONS, *STRANGE, *TIMES, *map(str, NUMBERS)]

SEGMENTS: Final = [
    *("%00", "%ff%fe", "%ed%a0%80", "..%2f..%2fetc", "%27%20OR%201=1--"),
    *("%7b%7b574177*791927%7d%7d", "0", "-1", "9" * 30, "%D9%A3", "x" * 2_000),
    *("%0d%0aSet-Cookie:%20a=b", "0" * 31 + "g", "%EF%BC%91" * 32, "null", ";a=b"),
]
"""Path segments in place of an identifier."""


def some(values: Sequence[Any], count: int, *case: str) -> Sequence[Any]:
    """Return a few of the values, others for other cases; all of them in a long run."""
    if IS_LONG:
        return values
    start = crc32(" ".join(case).encode()) % len(values)
    return [*values, *values][start : start + count]
