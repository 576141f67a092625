"""The kinds as custom resources of Kubernetes: `midstream crds`, made of the models.

What a spec has to have is said there; all else is left to the control plane, which refuses with a reason what the cluster would silently drop.
"""

from typing import Any

from mesh_core.model.kinds import Kind, Kinds

GROUP, VERSION = "mesh.midstream", "v1"


def plural(kind: str) -> str:
    """The name of a kind in paths."""
    name = kind.lower()
    return name if name.endswith("s") else f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def manifests(kinds: Kinds) -> list[dict[str, Any]]:
    return [_manifest(kind) for _, kind in sorted(kinds.kinds.items())]


def _manifest(kind: Kind) -> dict[str, Any]:
    schema = kind.spec.model_json_schema(by_alias=True)
    spec: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if schema.get("description"):
        spec["description"] = schema["description"].partition("\n\n")[0]
    if schema.get("required"):
        spec["required"] = schema["required"]
        spec["properties"] = {name: {"x-kubernetes-preserve-unknown-fields": True} for name in schema["required"]}
    openapi = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    names = {"kind": kind.name, "plural": plural(kind.name), "singular": kind.name.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(kind.name)}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": openapi}}],
        },
    }
