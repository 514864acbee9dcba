"""Write the figures of a long run into ``docs/verification.md``; keep the other text."""

import json
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"
BEGIN, END = "<!-- script/prove writes from here -->", "<!-- to here -->"


def render_page(page: str, lines: list[str], seed: str, status: str, day: str) -> str:
    """Return the page with the figures of a run.

    Args:
        lines: of the record, JSON each.
        status: exit status of pytest.
    """
    runs = [json.loads(line) for line in lines]
    spent = sum(int(run.get("seconds", 0)) for run in runs)
    verdict = (
        "no violation"
        if status == "0"
        else "**it failed; the figures are those of the parts that passed**"
    )
    text = [
        (
            f"Run of {day}, seed {seed}, Python {platform.python_version()}: {verdict}. "
            f"Total test time {spent // 60} minutes, {_kills(runs)} kills."
        ),
        "",
        "| part | duration | figures |",
        "|---|---|---|",
        *(_row(run) for run in runs),
    ]
    block = "\n".join([BEGIN, "", *text, "", END])
    return re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: block, page, flags=re.DOTALL)


def _kills(runs: list[dict[str, object]]) -> int:
    kills = (run.get("kills") for run in runs)
    return sum(sum(counts.values()) for counts in kills if isinstance(counts, dict))


def _row(run: dict[str, object]) -> str:
    seconds = run.get("seconds")
    figures = "; ".join(
        f"{_label(name)} {_format(value)}"
        for name, value in run.items()
        if name not in {"what", "seconds", "seed"}
    )
    return f"| {run['what']} | {f'{seconds} s' if seconds is not None else ''} | {figures} |"


def _label(name: str) -> str:
    return name.replace("_", " ")


def _format(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count}" for name, count in sorted(value.items()))
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    record, seed, status = sys.argv[1:]
    lines = Path(record).read_text("utf-8").splitlines() if Path(record).exists() else []
    day = datetime.now(UTC).date().isoformat()
    PAGE.write_text(render_page(PAGE.read_text("utf-8"), lines, seed, status, day), "utf-8")
    print(f"{PAGE.name} is written.")  # noqa: T201 - a command
