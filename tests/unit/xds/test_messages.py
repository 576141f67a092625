"""The private descriptor pool, and that what it was made of is what lies beside it."""

import hashlib
from pathlib import Path

import xds
from xds.messages import message, message_of, serialise, type_url

PACKAGE = Path(xds.__file__).parent


def test_the_descriptors_were_generated_from_these_protos():
    lock = dict(line.split(" ") for line in (PACKAGE / "descriptors.lock").read_text().splitlines())
    found = {str(path.relative_to(PACKAGE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in PACKAGE.glob("protos/**/*.proto")}
    assert {name: digest for name, digest in lock.items() if name.endswith(".proto")} == found, "run xds/tools/generate_descriptors.py"


def test_ours_and_theirs_are_in_one_set():
    listener = message("envoy.config.listener.v3.Listener")(name="l")
    assert message_of(type_url("midstream.sql.v1.Sharding")).DESCRIPTOR.full_name == "midstream.sql.v1.Sharding"
    assert message_of(type_url("envoy.config.listener.v3.Listener")).FromString(serialise(listener)).name == "l"


def test_no_package_beside_ours_is_needed():
    import sys

    assert not any(name.startswith(("envoy.", "xds.core", "xds.type", "udpa")) for name in sys.modules)
