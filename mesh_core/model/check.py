"""What can only be seen when objects are looked at together."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from mesh_core.model.kinds import Authored, Kinds, World
from mesh_core.model.objects import parse, suggest
from mesh_core.model.problem import Invalid, Problem
from mesh_core.model.secrets import SecretRef
from mesh_core.model.source import Document

# What the Secret must hold that a field of this name refers to.
_HOLDS = {
    "password_from": "password",
    "token_from": "password",
    "keys_from": "password",
    "cert_from": "certificate",
    "key_from": "certificate",
    "ca_from": "ca",
    "client_ca_from": "ca",
}


def world_of(documents: Iterable[Document], kinds: Kinds) -> World:
    """The objects of these documents, if all of them are right together. Raises Invalid with everything that is not."""
    objects, problems = parse(documents, kinds)
    world = World(objects)
    if not problems:
        problems = check(world, kinds)
    if problems:
        raise Invalid(problems)
    return world


def check(world: World, kinds: Kinds) -> list[Problem]:
    return [problem for found in world for problem in check_one(found, world, kinds)]


def check_one(found: Authored, world: World, kinds: Kinds) -> list[Problem]:
    return [*secret_problems(found, world), *kinds.kinds[found.kind].check(found, world)]


def reference(owner: Authored, path: str, kind: str, name: str, world: World) -> Iterator[Problem]:
    """A complaint where `path` names an object that does not exist."""
    if world.get(kind, name) is None:
        yield owner.problem(path, f"there is no {kind} {name}", suggest(name, world.names(kind)))


def secret_refs(value: Any, path: str = "spec") -> Iterator[tuple[str, str, SecretRef]]:
    """Every reference to a secret in a spec: its path, the name of its field, the reference."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner = getattr(value, name)
            below = f"{path}.{field.alias or name}"
            if isinstance(inner, SecretRef):
                yield below, name, inner
            else:
                yield from secret_refs(inner, below)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from secret_refs(item, f"{path}[{index}]")


def secret_problems(owner: Authored, world: World) -> Iterator[Problem]:
    for path, field, ref in secret_refs(owner.spec):
        if ref.secret is None:
            continue
        target = world.get("Secret", ref.secret)
        if target is None:
            yield owner.problem(f"{path}.secret", f"there is no Secret {ref.secret}", suggest(ref.secret, world.names("Secret")))
        elif target.spec.holds != _HOLDS[field]:
            reason = f"Secret {ref.secret} holds a {target.spec.holds}, not a {_HOLDS[field]}"
            yield owner.problem(f"{path}.secret", reason, "name another Secret")
