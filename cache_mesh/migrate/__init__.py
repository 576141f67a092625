"""`midstream migrate`: takes a RedisMigration from stage to stage, copies what was there before it began, and compares.

What is written while it runs is the sidecars' to copy (`dataplane/proto-redis/src/migration.rs`); the rest is here.
"""
