"""Print the software bill of materials of a wheel of Collegium (CycloneDX 1.6, JSON).

    python packaging/sbom.py dist/collegium-0.1.0-py3-none-any.whl

It lists what the wheel depends on, directly and indirectly, in the versions of the environment that
runs this: those of requirements/run.txt. The same wheel and lock file give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_CLASSIFIER: Final = "License :: "


def main() -> None:
    """Print the bill of the wheel that is the first argument."""
    sys.stdout.write(bill(Path(sys.argv[1]), int(os.environ["SOURCE_DATE_EPOCH"])))


def bill(wheel: Path, now: int) -> str:
    """Return the bill of a wheel as JSON.

    Args:
        wheel: the path of the wheel.
        now: the time that it names, in seconds since 1970.
    """
    content = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (root,) = distributions(path=[str(wheel)])
    component = _component(root, ComponentType.APPLICATION)
    component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=content))
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"sha256:{content}"))
    bom.metadata.timestamp = datetime.fromtimestamp(now, UTC)
    bom.metadata.component = component
    components = {canonicalize_name(root.name): component}
    # Distributions, each without an extra or with one of them, whose requirements are to be added.
    waiting: list[tuple[Distribution, str]] = [(root, "")]
    seen = {(canonicalize_name(root.name), "")}
    while waiting:
        one, extra = waiting.pop()
        dependent = components[canonicalize_name(one.name)]
        for required in _requirements(one, extra):
            found, name = distribution(required.name), canonicalize_name(required.name)
            if name not in components:
                components[name] = _component(found, ComponentType.LIBRARY)
                bom.components.add(components[name])
            bom.register_dependency(dependent, [components[name]])
            for needed in {"", *required.extras}:
                if (name, needed) not in seen:
                    seen.add((name, needed))
                    waiting.append((found, needed))
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _requirements(one: Distribution, extra: str) -> Iterator[Requirement]:
    """Yield what a distribution requires here, or what one of its extras adds to that."""
    for text in one.requires or ():
        required = Requirement(text)
        if required.marker is None:
            is_needed = not extra
        else:
            is_needed = required.marker.evaluate({"extra": extra}) and not (
                extra and required.marker.evaluate({"extra": ""})
            )
        if is_needed:
            yield required


def _license(one: Distribution) -> License:
    """Return the licence that the metadata state, in the newest of the three ways to do so."""
    stated = one.metadata["License-Expression"] or one.metadata["License"]
    if not stated:
        classifiers = one.metadata.get_all("Classifier", [])
        stated = next(c for c in classifiers if c.startswith(_CLASSIFIER)).rpartition(" :: ")[2]
    return LicenseFactory().make_from_string(stated)


def _component(one: Distribution, kind: ComponentType) -> Component:
    name = canonicalize_name(one.name)
    return Component(
        name=name,
        type=kind,
        version=one.version,
        bom_ref=f"{name}=={one.version}",
        description=one.metadata["Summary"],
        licenses=[_license(one)],
        purl=PackageURL("pypi", name=name, version=one.version),
    )


if __name__ == "__main__":
    main()
