"""SQL to plans: proves that an answer over shards equals that of one database, or refuses.

The order of reading: `statement` (what kind of statement, which tables), `facts` (which tables are tied to which keys), `one_shard` (the
first proof), `scatter` (the second), `writes`. `handler` answers the workers' upcalls with it. sqlglot reads the native lexer's normalised
text; it never writes SQL: what must change in the client's text are splices at token boundaries.
"""
