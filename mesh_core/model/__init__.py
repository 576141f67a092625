"""The objects people write: YAML in, checked objects out, every complaint with its file and line.

    documents, problems = read(text, "shop.yaml")       source.py
    objects, problems = parse(documents, kinds)         objects.py
    problems = check(objects, kinds)                    check.py

A family adds its kinds with `Kinds.add` and its listener protocols with `Kinds.add_protocol`.
"""
