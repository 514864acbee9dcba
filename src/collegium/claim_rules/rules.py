"""Pure rules of claim rules: whom one matches, and what its values must be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, NamedTuple

from collegium.invite_links.rules import (
    PATTERN_MAX,
    check_patterns,
    check_template,
    matches_pattern,
)
from collegium.refusals import Invalid
from collegium.sign_in.providers.rules import AFFILIATIONS_MAX, CUT

RULES_MAX: Final = 100
"""Maximum number of rules; each sign-in at a provider reads all of them."""

NAME_MAX: Final = 150
TEMPLATE_MAX: Final = 255

ITEMS_MAX: Final = 50
"""Maximum number of values of a condition, and of claims of a rule."""

CLAIM_MAX: Final = 255
VALUE_MAX: Final = 500
"""Maximum length of a value of a claim, as long as those that are stored."""

LENGTHS: Final[Mapping[str, int]] = {
    "email_patterns": PATTERN_MAX,
    "affiliations": 255,
    "identity_sources": 50,
    "nationalities": 50,
    "organisation_types": VALUE_MAX,
    "assurance_levels": VALUE_MAX,
}
"""Conditions that are lists of texts, with the maximum length of a text in characters."""

CONDITIONS: Final = (*LENGTHS, "claims")

_WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "nationalities": (
        *("schac_country_of_citizenship", "nationality", "nationalities"),
        *("citizenship", "citizenships"),
    ),
    "organisation_types": ("schac_home_organization_type", "organization_type"),
    "assurance_levels": ("eduperson_assurance", "assurance"),
}
"""Conditions on certain claims; of several claims every one counts.

The columns of the account are not compared, because people change some of them.
"""


class Conditions:
    """The conditions of a rule."""

    email_patterns: list[str]
    affiliations: list[str]
    identity_sources: list[str]
    nationalities: list[str]
    organisation_types: list[str]
    assurance_levels: list[str]
    claims: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a person.

    Args:
        claims: the stored claims of each identity at an active provider, by the id of the identity;
            only those for which the provider vouches.
    """

    email: str
    affiliations: tuple[str, ...]
    identity_source: str
    claims: Mapping[int, Mapping[str, Any]]


class Check(NamedTuple):
    """How a condition compares with a person.

    Args:
        accepted: what the rule accepts: texts, or texts by claim.
        found: what the person has, in the same form.
        is_cut: whether the person has more than is stored, so that a condition that is not met may
            be met all the same.
    """

    name: str
    is_set: bool
    is_met: bool
    accepted: Any
    found: Any
    is_cut: bool = False


def values_of(value: Any) -> list[str]:
    """Return a stored claim as texts."""
    items = value if isinstance(value, list) else [value]
    return [
        str(item).lower() if isinstance(item, bool) else str(item)
        for item in items
        if isinstance(item, (str, int))
    ]


def is_accepted(accepted: Iterable[str], found: Collection[str]) -> bool:
    """Return whether a rule accepts one of the values. A trailing ``*`` accepts any ending."""
    return any(
        any(value.startswith(text[:-1]) for value in found) if text.endswith("*") else text in found
        for text in accepted
    )


def meets_claims(
    wanted: Mapping[str, Collection[str]], identities: Iterable[Mapping[str, Any]]
) -> bool:
    """Return whether one identity has an accepted value of every claim.

    Args:
        wanted: accepted values by claim.
        identities: the claims of each identity of a person; only those for which its provider
            vouches.
    """
    return not wanted or any(
        all(is_accepted(values, values_of(claims.get(name))) for name, values in wanted.items())
        for claims in identities
    )


def matches(rule: Conditions, facts: Facts) -> bool:
    """Return whether a person meets every condition of a rule."""
    return all(check.is_met for check in checks(rule, facts))


def could_match(rule: Conditions, facts: Facts) -> bool:
    """Return whether a person may meet every condition of a rule by values that are not stored.

    Nobody loses a role because a list was too long.
    """
    of_account, of_identities = _checks(rule, facts)
    return all(check.is_met or check.is_cut for check in of_account) and any(
        all(check.is_met or check.is_cut for check in found) for found in of_identities
    )


def checks(rule: Conditions, facts: Facts) -> list[Check]:
    """Compare each condition of a rule with a person.

    All conditions on claims must be met by one identity, so that nobody combines two institutions.
    If none meets all of them, the identity that meets the most is shown.
    """
    of_account, of_identities = _checks(rule, facts)
    return of_account + max(of_identities, key=lambda found: sum(one.is_met for one in found))


def _checks(rule: Conditions, facts: Facts) -> tuple[list[Check], list[list[Check]]]:
    """Return the conditions on the account, and those on the claims of each identity."""
    patterns, sources = rule.email_patterns, rule.identity_sources
    is_admitted = not patterns or matches_pattern(patterns, facts.email)
    of_account = [
        Check("email_patterns", bool(patterns), is_admitted, patterns, [facts.email]),
        _any_of(
            "affiliations",
            rule.affiliations,
            facts.affiliations,
            is_cut=len(facts.affiliations) >= AFFILIATIONS_MAX,
        ),
        _any_of("identity_sources", sources, (facts.identity_source,)),
    ]
    return of_account, [_of_claims(rule, claims) for claims in facts.claims.values() or [{}]]


def _any_of(
    name: str, accepted: Sequence[str], found: Sequence[str], *, is_cut: bool = False
) -> Check:
    found = list(filter(None, found))
    is_met = not accepted or not set(accepted).isdisjoint(found)
    return Check(name, bool(accepted), is_met, list(accepted), found, is_cut)


def _of_claims(rule: Conditions, claims: Mapping[str, Any]) -> list[Check]:
    well_known = {
        name: [value for claim in names for value in values_of(claims.get(claim))]
        for name, names in _WELL_KNOWN.items()
    }
    names_cut = set(claims.get(CUT, ()))
    is_cut = {name: not names_cut.isdisjoint(names) for name, names in _WELL_KNOWN.items()}
    assurance = well_known["assurance_levels"]
    found = {name: values_of(claims.get(name)) for name in rule.claims}
    unmet = {
        name for name, accepted in rule.claims.items() if not is_accepted(accepted, found[name])
    }
    return [
        *(
            _any_of(name, getattr(rule, name), well_known[name], is_cut=is_cut[name])
            for name in ("nationalities", "organisation_types")
        ),
        # All of them: they are requirements, not alternatives.
        Check(
            "assurance_levels",
            bool(rule.assurance_levels),
            set(rule.assurance_levels) <= set(assurance),
            rule.assurance_levels,
            assurance,
            is_cut["assurance_levels"],
        ),
        Check(
            "claims",
            bool(rule.claims),
            not unmet,
            rule.claims,
            found,
            unmet <= names_cut,
        ),
    ]


def compared_claims(rules: Iterable[Conditions]) -> set[str]:
    """Return the claims that rules name."""
    return {claim for rule in rules for claim in rule.claims}


def missing_claims(rule: Conditions, kept: Collection[str]) -> list[str]:
    """Return the claims that a rule asks for and that count for nobody, by name.

    Args:
        kept: the claims that one provider or another vouches for, and that are stored.
    """
    missing = [name for name in rule.claims if name not in kept]
    for condition, names in _WELL_KNOWN.items():
        if getattr(rule, condition) and not set(names) & set(kept):
            missing.append(names[0])
    return missing


def is_for_each(template: str) -> bool:
    """Return whether a template names a project of each person's own; else one for all."""
    return not template or any(name is not None for _, name, *_ in Formatter().parse(template))


def problems(values: Mapping[str, Any]) -> list[Invalid]:
    """Return everything that is wrong with the values of a rule.

    Args:
        values: columns of the rule; those that are missing are empty.
    """
    found: list[Invalid] = []
    if not values.get("organisation_id"):
        found.append(Invalid("claim_rule.organisation", field="organisation"))
    if not any(values.get(name) for name in CONDITIONS):
        found.append(Invalid("claim_rule.no_condition", field="claims"))
    if not all(values.get("claims", {}).values()):
        found.append(Invalid("claim_rule.empty_claim", field="claims"))
    if values.get("creates_project") and not values.get("project_role_id"):
        found.append(Invalid("claim_rule.project_role", field="project_role"))
    if not values.get("creates_project") and not values.get("organisation_role_id"):
        found.append(Invalid("claim_rule.no_role", field="organisation_role"))
    for check, name in ((check_template, "template"), (check_patterns, "email_patterns")):
        try:
            if value := values.get(name):
                check(value)
        except Invalid as refusal:
            found.append(refusal)
    return found
