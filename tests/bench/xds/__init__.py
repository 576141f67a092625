"""`make bench-xds`: what one control plane costs that thousands of sidecars hang on."""
