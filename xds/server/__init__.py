"""The xDS server over gRPC: streams around the state machines of `xds.protocol`, and what is known of each node."""
