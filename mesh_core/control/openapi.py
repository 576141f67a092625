"""The OpenAPI document: the few paths, and the schema of every kind from its model."""

from pydantic import BaseModel

from mesh_core.model.kinds import API_VERSION, Kinds

_PROBLEM = {
    "type": "object",
    "properties": {
        "file": {"type": "string"},
        "line": {"type": "integer", "description": "1-based; 0 where the object came from no file"},
        "kind": {"type": "string"},
        "name": {"type": "string"},
        "path": {"type": "string", "description": "e.g. spec.tables[1].key"},
        "reason": {"type": "string"},
        "advice": {"type": "string"},
    },
}
_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "problems": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}}},
}


def document(kinds: Kinds, bodies: dict[str, type[BaseModel]]) -> dict:
    """OpenAPI 3.1 as plain JSON."""
    schemas: dict[str, dict] = {"Problem": _PROBLEM, "Error": _ERROR}
    for name, model in bodies.items():
        _add(schemas, name, model)
    for kind in kinds.kinds.values():
        _add(schemas, f"{kind.name}Spec", kind.spec)
        schemas[kind.name] = _envelope(kind.name)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Midstream control plane", "version": API_VERSION},
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def _add(schemas: dict[str, dict], name: str, model: type[BaseModel]) -> None:
    schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[name] = schema


def _envelope(kind: str) -> dict:
    metadata = {"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}, "required": ["name"]}
    return {
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": {"$ref": f"#/components/schemas/{kind}Spec"},
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
    }


def _paths() -> dict:
    return {
        "/v1/apply": {"post": _change("Create or replace objects, all or none", "Apply")},
        "/v1/plan": {"post": _change("What applying these would do", "Plan")},
        "/v1/delete": {"post": _change("Remove objects, all or none", "Delete", {"404": "one of them does not exist"})},
        "/v1/rollback": {"post": _change("Make the objects what they were", "Rollback", {"404": "that revision is not kept"})},
        "/v1/rollout": {"post": _change("Apply to one cohort of sidecars after the other", "Rollout"), "get": _read("The latest rollout")},
        "/v1/rollout/{verb}": {"post": _change("pause, resume, promote or abort it", "NoBody", {"404": "there is none"})},
        "/v1/objects": {"get": _read("The stored objects", "kind", "name")},
        "/v1/status": {"get": _read("What every sidecar holds of them", "node")},
        "/v1/history": {"get": _read("The latest changes, newest first", "limit")},
        "/v1/diff": {"get": _read("What changed from one revision to another", "from", "to")},
        "/ready": {"get": _read("Whether the control plane serves")},
    }


def _change(summary: str, body: str, more: dict[str, str] | None = None) -> dict:
    errors = {"400": "not this API", "409": "somebody else was faster", "422": "refused, with every problem", "503": "the store failed"}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses = {code: {"description": text, "content": content} for code, text in (errors | (more or {})).items()}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}}},
        "responses": {"200": {"description": "done"}} | responses,
    }


def _read(summary: str, *queries: str) -> dict:
    parameters = [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in queries]
    return {"summary": summary, "parameters": parameters, "responses": {"200": {"description": "found"}}}
