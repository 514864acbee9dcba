"""What staff count in a list of accounts: by state, by language, by the month of joining."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import String, case, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from collegium.db.tables import accounts


class _Month(FunctionElement[str]):
    """The month of a time in UTC, as SQL: ``2026-01``."""

    inherit_cache = True
    name = "month"
    type = String()


@compiles(_Month)
def _compile_month(element: _Month, compiler: SQLCompiler, **kw: Any) -> str:
    (moment,) = (compiler.process(clause, **kw) for clause in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM')"
    return f"substr({moment}, 1, 7)"


STATE: Final = case((accounts.c.is_active, literal("active")), else_=literal("inactive"))
LANGUAGE: Final = accounts.c.preferred_language
MONTH_JOINED: Final = _Month(accounts.c.joined_at)
