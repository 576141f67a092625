"""Resource names of the form `xdstp://authority/type/path?context#directives` (D9; cncf/xds, proposal TP1). Any other name stands for itself.

Two such names mean one resource when they differ in the order of their context parameters alone; the directives behind `#` (`alt=`, `entry=`) tell
the client how to go on and are no part of the name. A path that ends in `/*` is a glob collection: everything directly under that path, with the
same context parameters.
"""

SCHEME = "xdstp://"


def normal(name: str) -> str:
    """The one spelling that all equivalent names share."""
    if not name.startswith(SCHEME):
        return name
    path, question, context = name.partition("#")[0].partition("?")
    return path + question + "&".join(sorted(context.split("&"))) if context else path


def is_glob(name: str) -> bool:
    return name.startswith(SCHEME) and name.partition("?")[0].endswith("/*")


def glob_of(name: str) -> str:
    """The glob collection that a normal name belongs to; empty for names that belong to none."""
    if not name.startswith(SCHEME):
        return ""
    path, question, context = name.partition("?")
    folder = path.rpartition("/")[0]
    # Authority and type are no folder: a collection has at least the type before its star.
    return f"{folder}/*{question}{context}" if folder.count("/") >= 3 else ""
