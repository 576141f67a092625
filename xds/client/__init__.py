"""The sidecar's xDS client: a delta ADS stream kept open over gRPC."""
