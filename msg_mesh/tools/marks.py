"""Which fields of Kafka's messages bear a mark, and what it is called: read by `generate_tables.py`, documented in `table.rs`."""

INTERESTS = """
    NONE NODE_ID HOST PORT TOPIC TOPIC_ID ERROR ERROR_MESSAGE THROTTLE ACKS GROUP TRANSACTIONAL_ID RECORDS TOPICS NODES API_KEYS
    API_KEY API_MIN API_MAX TAIL_TAGS FETCH_EPOCH MECHANISM AUTH_BYTES RESOURCE_TYPE RESOURCE_NAME FETCH_SESSION
    GROUPS TRANSACTIONS NAMES KEY_TYPE COORDINATOR_KEY PROTOCOL_TYPE SUBSCRIPTION ASSIGNMENT TOPIC_REGEX TRANSACTION_REGEX CLUSTER_ID TEXT
    ACL_TYPE ACL_NAME ACL_PATTERN ACLS RESULTS CONFIG_NAME CONFIG_VALUE CONFIGS LOG_DIR MAX_BYTES LAST_TAGS
    SENSITIVE SYNONYM_VALUE PARTITION OFFSET END_OFFSET STABLE_OFFSET BROKER_ID BROKER_IDS
"""
INTEREST = {name: number for number, name in enumerate(INTERESTS.split())}

# Where a response carries a broker's address: API key -> paths of the structs that hold Host and Port.
ADDRESSES = {0: {"NodeEndpoints"}, 1: {"NodeEndpoints"}, 3: {"Brokers"}, 10: {"", "Coordinators"}, 55: {"Nodes.Listeners"}, 60: {"Brokers"}}
ADDRESSES |= {78: {"NodeEndpoints"}, 79: {"NodeEndpoints"}}
# A Host that is no broker's: the client host pattern of an ACL, a Streams application's own endpoint.
NOT_BROKERS = {29, 30, 31, 88, 89}
# Configuration APIs name a topic by type and name.
RESOURCES = {32, 33, 44, 74}
RESOURCE_PLACES = {"Resources.", "Results.", "Responses.", "ConfigResources."}
# Messages with records and names in turn: what their names grow by is made up for in the tags at their end.
LAST_TAGS = {(0, "request"), (1, "response")}

# Names that the schemas do not call so (no `entityType`), and what says how they are to be read.
PLACES = {
    (10, "request"): {"Key": "COORDINATOR_KEY", "CoordinatorKeys": "COORDINATOR_KEY", "KeyType": "KEY_TYPE"},
    (10, "response"): {"Coordinators.Key": "COORDINATOR_KEY"},
    (11, "request"): {"ProtocolType": "PROTOCOL_TYPE", "Protocols.Metadata": "SUBSCRIPTION"},
    (11, "response"): {"ProtocolType": "PROTOCOL_TYPE", "Members.Metadata": "SUBSCRIPTION"},
    (14, "request"): {"ProtocolType": "PROTOCOL_TYPE", "Assignments.Assignment": "ASSIGNMENT"},
    (14, "response"): {"ProtocolType": "PROTOCOL_TYPE", "Assignment": "ASSIGNMENT"},
    (15, "response"): {
        "Groups.ProtocolType": "PROTOCOL_TYPE",
        "Groups.Members.MemberMetadata": "SUBSCRIPTION",
        "Groups.Members.MemberAssignment": "ASSIGNMENT",
    },
    (29, "request"): {"ResourceTypeFilter": "ACL_TYPE", "ResourceNameFilter": "ACL_NAME", "PatternTypeFilter": "ACL_PATTERN"},
    (29, "response"): {"Resources.ResourceType": "ACL_TYPE", "Resources.ResourceName": "ACL_NAME", "Resources.PatternType": "ACL_PATTERN"},
    (30, "request"): {
        "Creations.ResourceType": "ACL_TYPE",
        "Creations.ResourceName": "ACL_NAME",
        "Creations.ResourcePatternType": "ACL_PATTERN",
    },
    (31, "request"): {
        "Filters.ResourceTypeFilter": "ACL_TYPE",
        "Filters.ResourceNameFilter": "ACL_NAME",
        "Filters.PatternTypeFilter": "ACL_PATTERN",
    },
    (31, "response"): {
        "FilterResults.MatchingAcls.ResourceType": "ACL_TYPE",
        "FilterResults.MatchingAcls.ResourceName": "ACL_NAME",
        "FilterResults.MatchingAcls.PatternType": "ACL_PATTERN",
    },
    (1, "request"): {"MaxBytes": "MAX_BYTES"},
    (3, "response"): {"ClusterId": "CLUSTER_ID"},
    (32, "response"): {
        "Results.Configs.Name": "CONFIG_NAME",
        "Results.Configs.Value": "CONFIG_VALUE",
        "Results.Configs.IsSensitive": "SENSITIVE",
        "Results.Configs.Synonyms.Value": "SYNONYM_VALUE",
    },
    (35, "response"): {"Results.LogDir": "LOG_DIR"},
    (60, "response"): {"ClusterId": "CLUSTER_ID"},
    (66, "request"): {"TransactionalIdPattern": "TRANSACTION_REGEX"},
    (68, "request"): {"SubscribedTopicRegex": "TOPIC_REGEX"},
    (69, "response"): {"Groups.Members.SubscribedTopicRegex": "TOPIC_REGEX"},
    (80, "request"): {"ClusterId": "CLUSTER_ID"},
    (81, "request"): {"ClusterId": "CLUSTER_ID"},
    (88, "request"): {"Topology.Subtopologies.SourceTopicRegex": "TOPIC_REGEX"},
}
PLACES |= {(key, "request"): {"GroupId": "GROUP"} for key in range(83, 88)}
# What is marked besides where a listener's traffic is measured: in programs of their own, so that nobody else walks over these.
_COMMITTED = {"PartitionIndex": "PARTITION", "CommittedOffset": "OFFSET"}
MEASURED = {
    (0, "request"): {"TopicData.PartitionData.Index": "PARTITION"},
    (0, "response"): {"Responses.PartitionResponses.Index": "PARTITION", "Responses.PartitionResponses.BaseOffset": "OFFSET"},
    (1, "request"): {"Topics.Partitions.Partition": "PARTITION", "Topics.Partitions.FetchOffset": "OFFSET"},
    (1, "response"): {
        "Responses.Partitions.PartitionIndex": "PARTITION",
        "Responses.Partitions.HighWatermark": "END_OFFSET",
        "Responses.Partitions.LastStableOffset": "STABLE_OFFSET",
    },
    **{(key, side): {f"Topics.Partitions.{name}": mark for name, mark in _COMMITTED.items()} for key in (8, 28) for side in ("request", "response")},
    (9, "response"): {f"{path}Topics.Partitions.{name}": mark for path in ("", "Groups.") for name, mark in _COMMITTED.items()},
}
# Brokers' ids where no address stands beside them; where clusters share a listener, each has ids of its own.
BROKERS = {
    (0, "response"): {"Responses.PartitionResponses.CurrentLeader.LeaderId"},
    (1, "response"): {"Responses.Partitions.CurrentLeader.LeaderId", "Responses.Partitions.PreferredReadReplica"},
    (3, "response"): {"ControllerId", *(f"Topics.Partitions.{name}" for name in ("LeaderId", "ReplicaNodes", "IsrNodes", "OfflineReplicas"))},
    (19, "request"): {"Topics.Assignments.BrokerIds"},
    (37, "request"): {"Topics.Assignments.BrokerIds"},
    (60, "response"): {"ControllerId"},
    (78, "response"): {"Responses.Partitions.CurrentLeader.LeaderId"},
    (79, "response"): {"Responses.Partitions.CurrentLeader.LeaderId"},
}
FREE_TEXT = {"BatchIndexErrorMessage", "AcknowledgeErrorMessage", "StatusDetail"}
# Strings and bytes that hold no name of a topic, group, transaction or cluster, by the ends of their paths.
PLAIN = """
    MemberId GroupInstanceId InstanceId RackId Rack Reason CommittedMetadata Partitions.Metadata ProtocolName Protocols.Name Leader GroupState
    ProtocolData ClientId ClientHost StatesFilter TypesFilter GroupType Mechanisms ClientSoftwareName ClientSoftwareVersion SupportedFeatures.Name
    FinalizedFeatures.Name Configs.Name Configs.Value PrincipalFilter HostFilter Principal Host ConfigurationKeys Synonyms.Name Synonyms.Value
    Documentation Dirs.Path AuthBytes OwnerPrincipalType OwnerPrincipalName PrincipalType PrincipalName TokenRequesterPrincipalType
    TokenRequesterPrincipalName TokenId Hmac EntityType EntityName Components.Match Values.Key Ops.Key Users.Name User Deletions.Name
    Upsertions.Name Salt SaltedPassword Listeners.Name Feature TransactionState StateFilters UnknownStateFilters AssignorName ServerAssignor
    RequestedMetrics Metrics SubtopologyId TopicConfigs.Key TopicConfigs.Value ProcessId ClientTags.Key ClientTags.Value
    FetchRequest.ClusterId ListGroupsResponse.Groups.ProtocolType
"""

BY_NAME = {
    ("request", "Acks"): "ACKS",
    ("request", "SessionId"): "FETCH_SESSION",
    ("response", "SessionId"): "FETCH_SESSION",
    ("request", "SessionEpoch"): "FETCH_EPOCH",
    ("request", "Mechanism"): "MECHANISM",
    ("request", "AuthBytes"): "AUTH_BYTES",
    ("response", "ErrorMessage"): "ERROR_MESSAGE",
    ("response", "ThrottleTimeMs"): "THROTTLE",
}
ONLY_OF = {"Acks": 0, "SessionId": 1, "SessionEpoch": 1}
# What an array is called whose elements bear such a mark; the first that fits.
ELEMENTS = {"API_KEY": "API_KEYS", "HOST": "NODES", "TOPIC": "TOPICS", "TOPIC_ID": "TOPICS", "RESOURCE_NAME": "TOPICS"}
ELEMENTS |= {"GROUP": "GROUPS", "TRANSACTIONAL_ID": "TRANSACTIONS", "ACL_NAME": "ACLS", "CONFIG_NAME": "CONFIGS"}
BY_ENTITY = {"topicName": "TOPIC", "groupId": "GROUP", "transactionalId": "TRANSACTIONAL_ID"}
