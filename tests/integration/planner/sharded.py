"""The objects of a database on several servers, whose superuser needs no password."""

from mesh_core.lab import Postgres

ENVIRONMENT = {"SHARDED_PASSWORD": "any"}


def objects(servers: list[Postgres], tables: list[str], port: int) -> str:
    """`tables` are those of the Sharding, in YAML; s0 is home."""
    shards = "\n".join(f'    - {{name: s{number}, primary: "{server.address}/shop"}}' for number, server in enumerate(servers))
    listed = "\n".join(f"    - {table}" for table in tables)
    return f"""
apiVersion: midstream/v1
kind: Database
metadata: {{name: shop}}
spec:
  engine: postgres
  credentials: {{user: postgres, passwordFrom: {{env: SHARDED_PASSWORD}}}}
  pool: {{mode: transaction, size: 4}}
  shards:
{shards}
---
apiVersion: midstream/v1
kind: Sharding
metadata: {{name: shop}}
spec:
  database: shop
  home: s0
  tables:
{listed}
---
apiVersion: midstream/v1
kind: Listener
metadata: {{name: shop}}
spec: {{address: "127.0.0.1:{port}", protocol: postgres, backend: shop}}
"""
