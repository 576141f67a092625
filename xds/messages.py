"""Message classes of the xDS API and of Midstream's own resources, by full name.

They live in a private descriptor pool, loaded once from `descriptors.bin`: the generated packages of `xds-protos` would put a second top-level
package `xds` beside ours, and the default pool is shared with whatever else the process has imported. See tools/generate_descriptors.py.
"""

from functools import cache
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

TYPE_URL_PREFIX = "type.googleapis.com/"


@cache
def pool() -> DescriptorPool:
    """The private pool, about 110 files; loading takes some tens of milliseconds."""
    result = DescriptorPool()
    for file in FileDescriptorSet.FromString(files("xds").joinpath("descriptors.bin").read_bytes()).file:
        result.Add(file)
    return result


@cache
def message(full_name: str) -> type[Message]:
    """The class of e.g. "envoy.config.cluster.v3.Cluster". Raises KeyError for a name that is not in the set."""
    return GetMessageClass(pool().FindMessageTypeByName(full_name))


@cache
def enum_values(full_name: str) -> dict[str, int]:
    """Name to number of an enum's values."""
    return {value.name: value.number for value in pool().FindEnumTypeByName(full_name).values}


def type_url(full_name: str) -> str:
    return TYPE_URL_PREFIX + full_name


def message_of(url: str) -> type[Message]:
    """The class behind a type URL. Raises KeyError for a type that is not in the set."""
    return message(url.rpartition("/")[2])


def serialise(value: Message) -> bytes:
    """Bytes that are equal for equal messages (map entries sorted), so that a content hash is a version."""
    return value.SerializeToString(deterministic=True)
