"""What was worked out of objects is worked out again exactly when something that was looked at has changed."""

from hypothesis import given
from hypothesis import strategies as st

from mesh_core.model.kinds import Authored, World
from mesh_core.model.memo import Memo
from mesh_core.model.source import Document

KINDS = ("A", "B")
NAMES = ("1", "2", "3")


def authored(kind: str, name: str, spec: object) -> Authored:
    return Authored(kind, name, spec, Document({}, ""))


def depends(found: Authored, world: World) -> tuple:
    """On one object of the same name, and where the spec is odd on all of a kind."""
    other = world.get("B" if found.kind == "A" else "A", found.name)
    rest = [one.spec for one in world.all("B")] if found.spec % 2 else []
    return (found.spec, other.spec if other else None, rest)


worlds = st.lists(st.dictionaries(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), st.integers(0, 3)), min_size=1, max_size=6)


@given(worlds)
def test_it_is_always_what_asking_anew_would_give(sets):
    memo = Memo(depends)
    known: dict = {}
    for wanted in sets:
        # An object that did not change is the same one, as the control plane keeps it.
        known = {key: known[key] if key in known and known[key].spec == spec else authored(*key, spec) for key, spec in wanted.items()}
        world = World(known.values())
        assert memo.of(world) == [depends(found, world) for found in world]


def test_only_what_looked_at_it_is_asked_again():
    asked = []

    def work(found: Authored, world: World) -> str:
        asked.append(found.key)
        world.get("B", found.name)
        return found.name

    memo = Memo(work)
    objects = {(kind, name): authored(kind, name, 0) for kind in KINDS for name in NAMES}
    memo.of(World(objects.values()))
    asked.clear()
    objects["B", "2"] = authored("B", "2", 1)
    memo.of(World(objects.values()))
    assert sorted(asked) == [("A", "2"), ("B", "2")]
