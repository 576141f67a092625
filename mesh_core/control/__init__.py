"""The control plane: authored objects in a store, admitted as a set, compiled once, pushed to every sidecar."""
