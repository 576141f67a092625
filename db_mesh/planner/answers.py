"""The Plan message, and refusals in the database's own words."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds.messages import message

NOT_PROVEN = "0A000"


class Refused(Exception):
    """The planner's no: a sentence that names the rule and the reason, and what to do. Becomes the client's error."""

    def __init__(self, reason: str, hint: str = "", *, detail: str = "", sqlstate: str = NOT_PROVEN, cacheable: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.detail, self.sqlstate, self.cacheable = reason, hint, detail, sqlstate, cacheable


@dataclass(frozen=True)
class KeySource:
    """Where a key's value is: the slot :pN, or a constant that the lexer left in the text."""

    slot: int = 0
    constant: str | None = None
    negated: bool = False
    type_oid: int = 0  # what the server infers for an undeclared parameter; 0: unknown
    array: bool = False

    def write(self, target: Message) -> None:
        if self.constant is None:
            target.slot = self.slot
        else:
            target.constant = self.constant
        target.negated, target.type_oid, target.array = self.negated, self.type_oid, self.array


Keys = tuple[KeySource, ...]


@dataclass
class Outline:
    """What is said of a statement whatever its route: for filters, metrics and logs."""

    verb: str
    klass: str  # READ, WRITE, ADMIN
    tables: list[str] = field(default_factory=list)
    cacheable: bool = True

    def plan(self, proof: str) -> Message:
        result = message("midstream.sql.v1.Plan")(verb=self.verb, tables=self.tables, proof=proof, cacheable=self.cacheable)
        setattr(result, "class", {"READ": 1, "WRITE": 2, "ADMIN": 3}[self.klass])
        return result

    def home(self, proof: str) -> Message:
        result = self.plan(proof)
        result.route.home.SetInParent()
        return result

    def any_shard(self, proof: str) -> Message:
        result = self.plan(proof)
        result.route.any.SetInParent()
        return result

    def all_shards(self, proof: str) -> Message:
        result = self.plan(proof)
        result.route.all.SetInParent()
        result.merge.SetInParent()
        return result

    def refuse(self, refused: Refused) -> Message:
        result = self.plan("refused")
        result.cacheable = self.cacheable and refused.cacheable
        to = result.route.refuse
        to.sqlstate, to.message, to.detail, to.hint = refused.sqlstate, refused.reason, refused.detail, refused.hint
        return result

    def by_key(self, proof: str, table: str, key_type: str, keys: Iterable[KeySource]) -> Message:
        result = self.plan(proof)
        to = result.route.by_key
        to.table, to.key_type = table, key_type
        for key in keys:
            key.write(to.keys.add())
        return result
