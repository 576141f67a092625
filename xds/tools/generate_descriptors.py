"""Write `xds/descriptors.bin` and `xds/descriptors.lock` from the official `xds-protos` and from `xds/protos/`.

Run it in an environment of its own, because `xds-protos` installs a top-level package `xds` that collides with ours:

    python -m venv /tmp/protos && /tmp/protos/bin/pip install xds-protos==1.85.0 grpcio-tools==1.85.1
    /tmp/protos/bin/python xds/tools/generate_descriptors.py

The result is one serialised `google.protobuf.FileDescriptorSet` in dependency order. The lock names what it was made of; a unit test compares
it with the sources, so that a changed .proto cannot be forgotten.
"""

import hashlib
import importlib
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = PACKAGE / "protos"

# What the control plane and the sidecars speak; everything these import comes with them.
ROOTS = (
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.config.listener.v3.listener_pb2",
    "envoy.service.discovery.v3.ads_pb2",
    "envoy.service.discovery.v3.discovery_pb2",
    "envoy.service.cluster.v3.cds_pb2",
    "envoy.service.endpoint.v3.eds_pb2",
    "envoy.service.listener.v3.lds_pb2",
    "envoy.service.secret.v3.sds_pb2",
    "envoy.service.runtime.v3.rtds_pb2",
    "envoy.service.status.v3.csds_pb2",
    "envoy.service.load_stats.v3.lrs_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.config.route.v3.route_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.network.redis_proxy.v3.redis_proxy_pb2",
    "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "google.rpc.status_pb2",
)


def main() -> None:
    files = {}
    for module in ROOTS:
        collect(importlib.import_module(module).DESCRIPTOR, files)
    compile_ours(files)
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    descriptors = FileDescriptorSet(file=files.values())
    data = descriptors.SerializeToString(deterministic=True)
    (PACKAGE / "descriptors.bin").write_bytes(data)
    (PACKAGE / "descriptors.lock").write_text(lock())
    print(f"{len(files)} files, {len(data)} bytes")


def collect(descriptor, files: dict) -> None:
    """Add a file after everything it imports."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    if descriptor.name in files:
        return
    for dependency in descriptor.dependencies:
        collect(dependency, files)
    proto = FileDescriptorProto()
    descriptor.CopyToProto(proto)
    files[descriptor.name] = proto


def compile_ours(files: dict) -> None:
    """Compile `xds/protos/midstream` and append its files; what they import from elsewhere is taken from `xds-protos`."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    sources = proto_sources()
    if not sources:
        return
    well_known = Path(importlib.import_module("grpc_tools").__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        foreign = Path(folder) / "foreign.bin"
        foreign.write_bytes(FileDescriptorSet(file=files.values()).SerializeToString())
        ours = Path(folder) / "ours.bin"
        code = protoc.main(
            ["protoc", f"--proto_path={SOURCES}", f"--proto_path={well_known}", f"--descriptor_set_in={foreign}"]
            + [f"--descriptor_set_out={ours}", "--include_imports"]
            + [str(path.relative_to(SOURCES)) for path in sources]
        )
        if code:
            sys.exit(f"protoc refused xds/protos (exit {code}); its message is above")
        for file in FileDescriptorSet.FromString(ours.read_bytes()).file:
            files.setdefault(file.name, file)


def proto_sources() -> list[Path]:
    return sorted(SOURCES.rglob("*.proto"))


def lock() -> str:
    lines = [f"xds-protos {version('xds-protos')}", f"grpcio-tools {version('grpcio-tools')}"]
    for path in proto_sources():
        lines.append(f"{path.relative_to(PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
