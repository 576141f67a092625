-- The same on every shard; Midstream decides where a row lives.
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigint, customer_id bigint NOT NULL, amount bigint NOT NULL, PRIMARY KEY (customer_id, id));
