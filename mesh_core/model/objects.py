"""Documents to objects: the envelope, the kind's own schema, and errors with path, line and advice."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError

from mesh_core.model.kinds import API_VERSION, Authored, Kinds
from mesh_core.model.problem import Problem
from mesh_core.model.source import Document
from mesh_core.model.values import Name, Spec


class Metadata(Spec):
    name: Name
    labels: dict[str, str] = Field(default_factory=dict)


class Envelope(Spec):
    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any]


def parse(documents: Iterable[Document], kinds: Kinds) -> tuple[list[Authored], list[Problem]]:
    """The objects that are well formed, and what is wrong with the others. Names may not repeat within a kind."""
    objects: dict[tuple[str, str], Authored] = {}
    problems: list[Problem] = []
    for document in documents:
        found, wrong = parse_one(document, kinds)
        problems += wrong
        if found is None:
            continue
        first = objects.setdefault(found.key, found)
        if first is not found:
            where = f"{first.document.file}:{first.document.line_of('metadata.name')}"
            problems.append(found.problem("metadata.name", f"is already the name of the {found.kind} at {where}", "rename or remove one"))
    return list(objects.values()), problems


def parse_one(document: Document, kinds: Kinds) -> tuple[Authored | None, list[Problem]]:
    kind, name = _label(document.value)
    blame = _Blame(document, kind, name)
    try:
        envelope = Envelope.model_validate(document.value)
    except ValidationError as error:
        return None, blame.all(error, Envelope, "")
    if envelope.api_version != API_VERSION:
        return None, [blame.one("apiVersion", f"{envelope.api_version!r} is not known", f"write {API_VERSION}")]
    found = kinds.kinds.get(envelope.kind)
    if found is None:
        return None, [blame.one("kind", f"there is no kind {envelope.kind!r}", suggest(envelope.kind, kinds.kinds))]
    try:
        spec = found.spec.model_validate(envelope.spec)
    except ValidationError as error:
        return None, blame.all(error, found.spec, "spec")
    return Authored(found.name, envelope.metadata.name, spec, document, envelope.metadata.labels), []


def suggest(word: str, known: Iterable[str]) -> str:
    """ "did you mean X" when one is close, else the list of what there is."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(known)}" if known else "none is defined"


def _label(value: Any) -> tuple[str, str]:
    """Kind and name for complaints about an object that may be neither."""
    if not isinstance(value, dict):
        return "", ""
    metadata = value.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return str(value.get("kind", "")), str(name)


class _Blame:
    """Turns pydantic's errors into problems of one document."""

    def __init__(self, document: Document, kind: str, name: str):
        self._document, self._kind, self._name = document, kind, name

    def one(self, path: str, reason: str, advice: str) -> Problem:
        document = self._document
        return Problem(document.file, document.line_of(path), self._kind, self._name, path, reason, advice)

    def all(self, error: ValidationError, model: type[BaseModel], prefix: str) -> list[Problem]:
        return [self._translate(item, model, prefix) for item in error.errors(include_url=False)]

    def _translate(self, item: Any, model: type[BaseModel], prefix: str) -> Problem:
        path = _path(prefix, item["loc"])
        if item["type"] == "extra_forbidden":
            return self.one(path, "is not a known field", suggest(str(item["loc"][-1]), _fields_at(model, item["loc"][:-1])))
        if item["type"] == "missing":
            return self.one(path, "is missing", "add it")
        if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
            return self.one(path, "must be a mapping of fields", "")
        reason = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        if isinstance(given, str | int | float | bool) and repr(given) not in reason:
            reason = f"{reason} (given: {given!r})"
        return self.one(path, reason[:1].lower() + reason[1:], "")


def _path(prefix: str, loc: tuple[int | str, ...]) -> str:
    path = prefix
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]":
            path = f"{path}.{step}" if path else step
    return path


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The names a structure knows, found by following a location through the model's annotations."""
    current: Any = model
    for step in loc:
        if isinstance(step, int):
            continue
        field = next((field for field in current.model_fields.values() if field.alias == step), None)
        current = _model_in(field.annotation) if field else None
        if current is None:
            return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of `X`, `X | None`, `list[X]`, `Annotated[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
