//! Type URLs.

/// envoy.config.listener.v3.Listener
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// envoy.config.cluster.v3.Cluster
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// envoy.config.endpoint.v3.ClusterLoadAssignment
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// envoy.extensions.transport_sockets.tls.v3.Secret
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// midstream.sql.v1.Database
pub const DATABASE: &str = "type.googleapis.com/midstream.sql.v1.Database";
/// midstream.sql.v1.Sharding
pub const SHARDING: &str = "type.googleapis.com/midstream.sql.v1.Sharding";
/// midstream.redis.v1.RedisCluster
pub const REDIS_CLUSTER: &str = "type.googleapis.com/midstream.redis.v1.RedisCluster";
/// midstream.redis.v1.RedisRoutes
pub const REDIS_ROUTES: &str = "type.googleapis.com/midstream.redis.v1.RedisRoutes";
/// midstream.redis.v1.RedisKeyStats
pub const REDIS_KEY_STATS: &str = "type.googleapis.com/midstream.redis.v1.RedisKeyStats";
/// midstream.redis.v1.RedisMirror
pub const REDIS_MIRROR: &str = "type.googleapis.com/midstream.redis.v1.RedisMirror";
/// midstream.redis.v1.RedisMigration
pub const REDIS_MIGRATION: &str = "type.googleapis.com/midstream.redis.v1.RedisMigration";
/// midstream.kafka.v1.KafkaCluster
pub const KAFKA_CLUSTER: &str = "type.googleapis.com/midstream.kafka.v1.KafkaCluster";
/// midstream.kafka.v1.KafkaVirtualCluster
pub const KAFKA_VIRTUAL_CLUSTER: &str = "type.googleapis.com/midstream.kafka.v1.KafkaVirtualCluster";
/// midstream.kafka.v1.KafkaStats
pub const KAFKA_STATS: &str = "type.googleapis.com/midstream.kafka.v1.KafkaStats";
/// midstream.kafka.v1.KafkaFederation
pub const KAFKA_FEDERATION: &str = "type.googleapis.com/midstream.kafka.v1.KafkaFederation";
/// midstream.kafka.v1.KafkaRecordPolicy
pub const KAFKA_RECORD_POLICY: &str = "type.googleapis.com/midstream.kafka.v1.KafkaRecordPolicy";
/// midstream.policy.v1.AccessPolicy
pub const ACCESS_POLICY: &str = "type.googleapis.com/midstream.policy.v1.AccessPolicy";
/// midstream.policy.v1.RateLimit
pub const RATE_LIMIT: &str = "type.googleapis.com/midstream.policy.v1.RateLimit";
/// midstream.policy.v1.Fault
pub const FAULT: &str = "type.googleapis.com/midstream.policy.v1.Fault";
/// midstream.policy.v1.Tap
pub const TAP: &str = "type.googleapis.com/midstream.policy.v1.Tap";

/// midstream.sql.v1.SqlProxy, in a Listener's filter
pub const SQL_PROXY: &str = "type.googleapis.com/midstream.sql.v1.SqlProxy";
/// midstream.redis.v1.RedisProxy, in a Listener's filter
pub const REDIS_PROXY: &str = "type.googleapis.com/midstream.redis.v1.RedisProxy";
/// midstream.kafka.v1.KafkaProxy, in a Listener's filter
pub const KAFKA_PROXY: &str = "type.googleapis.com/midstream.kafka.v1.KafkaProxy";
/// midstream.core.v1.TcpProxy, in a Listener's filter
pub const TCP_PROXY: &str = "type.googleapis.com/midstream.core.v1.TcpProxy";
