"""The standard part: Listener, Cluster and ClusterLoadAssignment, as any xDS client reads them."""

from collections.abc import Iterable, Iterator

from google.protobuf.message import Message

from mesh_core.model.kinds import Authored, Compiled
from mesh_core.model.values import HostPort, parse_host_port, unix_path
from xds.messages import message, serialise, type_url
from xds.protocol.types import CLUSTER, ENDPOINTS

PRIMARY = "primary"
REPLICA = "replica"


DEFAULT_SOCKET_MODE = "0660"  # the owner and the group may connect


def listener_message(name: str, filter_config: Message) -> Message:
    """One filter chain with one filter. Rules are resources of their own, so that changing one leaves the listener alone."""
    result = message("envoy.config.listener.v3.Listener")(name=name)
    full_name = filter_config.DESCRIPTOR.full_name
    filter_ = result.filter_chains.add().filters.add(name=full_name)
    filter_.typed_config.type_url = type_url(full_name)
    filter_.typed_config.value = serialise(filter_config)
    return result


def set_listen_address(target: Message, address: str, socket_mode: str | None) -> None:
    """Fill an envoy.config.core.v3.Address from "127.0.0.1:5432" or "unix:/run/midstream/.s.PGSQL.5432"."""
    path = unix_path(address)
    if path is None:
        _set_address(target, parse_host_port(address))
    else:
        target.pipe.path = path
        target.pipe.mode = int(socket_mode or DEFAULT_SOCKET_MODE, 8)


def cluster(owner: Authored, name: str, endpoints: Iterable[tuple[HostPort, str]], connect_timeout_ms: int, base: str) -> Iterator[Compiled]:
    """A group of servers: the Cluster, and its endpoints with their roles as a resource of its own."""
    group = message("envoy.config.cluster.v3.Cluster")(name=name, type="EDS")
    group.connect_timeout.FromMilliseconds(connect_timeout_ms)
    group.eds_cluster_config.eds_config.ads.SetInParent()
    group.eds_cluster_config.eds_config.resource_api_version = 2  # V3
    yield Compiled(CLUSTER, name, group, owner, base)

    assignment = message("envoy.config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name)
    locality = assignment.endpoints.add()
    locality.load_balancing_weight.value = 1
    for where, role in endpoints:
        endpoint = locality.lb_endpoints.add()
        _set_address(endpoint.endpoint.address, where)
        endpoint.metadata.filter_metadata["midstream"].fields["role"].string_value = role
    yield Compiled(ENDPOINTS, name, assignment, owner, base)


def _set_address(address: Message, where: HostPort) -> None:
    address.socket_address.address = "127.0.0.1" if where.host == "localhost" else where.host
    address.socket_address.port_value = where.port
