"""Render a chart with Helm's own library, and check the results against the schemas of Kubernetes.

Standard input is a JSON object: ``chart`` (its folder), ``versions`` (of Kubernetes), and ``cases``
(values by a name). Standard output is one: for each case ``objects``, or ``refused`` with the
reason; ``findings`` are those of ``helm lint``.
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

asked = json.load(sys.stdin)
results = {"helm": helm_python.helm_sdk_version(), "cases": {}}
with helm_python.Chart.load(asked["chart"]) as chart:
    for name, values in asked["cases"].items():
        try:
            chart.validate_schema(values)
            files = chart.render(values, name="members", namespace="club")
        except helm_python.HelmError as error:
            results["cases"][name] = {"refused": str(error)}
            continue
        notes = [text for file, text in files.items() if file.endswith("NOTES.txt")]
        objects = [
            found
            for file, text in files.items()
            if not file.endswith("NOTES.txt")
            for found in yaml.safe_load_all(text)
            if found
        ]
        invalid = []
        for version in asked["versions"]:
            for found in objects:
                try:
                    kubernetes_validate.validate(found, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    invalid.append(f"{version} {found['kind']}: {error}"[:500])
        results["cases"][name] = {"objects": objects, "notes": notes, "invalid": invalid}
        results["cases"][name]["findings"] = [
            message["error"]
            for message in helm_python.lint(asked["chart"], values)["messages"]
            if message["severity"] > 1
        ]
json.dump(results, sys.stdout)
