"""The templates of e-mails.

An e-mail has two templates in ``templates``: ``<kind>.subject.txt``, and ``<kind>.body``, from
which the text and the HTML are made. The variable ``part`` says which: ``txt`` or ``html``. What
differs is in the macros of ``parts.txt`` and ``parts.html``, which have the same names.

Every sentence is marked for translation, as on pages: ``{% trans %}`` or ``_("…")``. Values that a
sentence inserts go through a filter: ``strong`` is bold in HTML; ``quoted`` is bold in HTML and
between quotation marks in text; ``moment`` and ``role`` are in the language of the e-mail.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    pass_eval_context,
    select_autoescape,
)
from jinja2.nodes import EvalContext
from markupsafe import Markup

from collegium.access.labels import scope_pattern
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.plain import fill, short, subject_line

TEMPLATES: Final = Path(__file__).parent / "templates"

BODY: Final = ".body"
"""The suffix of a template from which both parts are made."""


class Contents(NamedTuple):
    """What an e-mail says."""

    subject: str
    text: str
    html: str


class _Loader(FileSystemLoader):
    """Loads ``<kind>.txt`` and ``<kind>.html`` from ``<kind>.body``, unless there is such a file.

    The name decides whether values are escaped.
    """

    def get_source(self, environment: Environment, template: str) -> Any:
        """Return the source of a template, its path, and whether it is still the same."""
        try:
            return super().get_source(environment, template)
        except TemplateNotFound:
            return super().get_source(environment, template.rpartition(".")[0] + BODY)


def render(folder: Path | None, kind: str, variables: dict[str, Any]) -> Contents:
    """Return the subject and both parts of an e-mail, in the current language.

    Args:
        folder: The TEMPLATES setting; None when it is not set.
        kind: Kind of the e-mail.
        variables: Variables of its templates.
    """
    environment = templates(folder)
    subject = environment.get_template(f"{kind}.subject.txt").render(variables)
    template = environment.get_template(f"{kind}.txt")
    text = template.render(variables, part="txt")
    if str(template.filename).startswith(f"{TEMPLATES}/"):
        # Ours have one line for each paragraph. Those of the operator look as they are written.
        text = fill(text)
    html = environment.get_template(f"{kind}.html").render(variables, part="html")
    return Contents(subject_line(subject), text, html)


@lru_cache(maxsize=4)
def templates(folder: Path | None) -> Environment:
    """Return the template environment. Templates in the operator's folder come first.

    Args:
        folder: The TEMPLATES setting; None when it is not set.
    """
    environment = Environment(
        loader=_Loader([TEMPLATES] if folder is None else [folder, TEMPLATES]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The operator's templates may change while the worker runs; ours do not.
        auto_reload=folder is not None,
    )
    environment.policies["ext.i18n.trimmed"] = True
    # The style in which variables of a marked text are escaped by the functions below.
    environment.newstyle_gettext = True  # type: ignore[attr-defined]
    environment.globals["gettext"] = environment.globals["_"] = _gettext
    environment.globals["ngettext"] = _ngettext
    environment.filters["short"] = short
    environment.filters["moment"] = languages.moment
    environment.filters["strong"] = _strong
    environment.filters["quoted"] = _quoted
    environment.filters["code"] = _code
    environment.globals["place"] = _place
    environment.globals["listed"] = _listed
    environment.globals["language"] = languages.current
    environment.globals["direction"] = languages.direction
    return environment


@pass_eval_context
def _gettext(context: EvalContext, text: str, /, **values: Any) -> str:
    return _filled(context, languages.gettext(text), values)


@pass_eval_context
def _ngettext(context: EvalContext, one: str, many: str, num: int, /, **values: Any) -> str:
    return _filled(context, languages.ngettext(one, many, num), {"num": num} | values)


def _filled(context: EvalContext, text: str, values: dict[str, Any]) -> str:
    """Return a marked text with its values, which are escaped in HTML."""
    return (Markup(text) if context.autoescape else text) % values  # noqa: S704 - as below


@pass_eval_context
def _strong(context: EvalContext, value: str) -> str:
    """Return a value bold in HTML, unchanged in text."""
    return Markup("<strong>{}</strong>").format(value) if context.autoescape else value


@pass_eval_context
def _quoted(context: EvalContext, value: str) -> str:
    """Return a value bold in HTML, between quotation marks in text."""
    return _strong(context, value) if context.autoescape else _('"{text}"').format(text=value)


@pass_eval_context
def _code(context: EvalContext, value: str) -> str:
    """Return a value that people copy; in HTML in a typeface that tells letters apart."""
    html = Markup('<code dir="ltr" style="font-size:16px">{}</code>')
    return html.format(value) if context.autoescape else value


@pass_eval_context
def _place(context: EvalContext, kind: str, name: str, organisation: str = "") -> str:
    """Return the phrase that names a scope: ``project Atlas of Initech``, the name bold in HTML."""
    pattern = scope_pattern(kind, has_organisation=bool(organisation))
    if context.autoescape:
        pattern = Markup(pattern)  # noqa: S704 - a text of the code or of a catalogue
    return pattern.format(name=_strong(context, name), organisation=organisation)


def _listed(names: list[str]) -> str:
    """Return names as a phrase: ``Ada, Bob or Eve``."""
    *others, last = names
    if not others:
        return last
    return _("{names} or {last}").format(names=_(", ").join(others), last=last)
