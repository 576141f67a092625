use super::*;
use crate::lexer::Lexer;
use crate::value::Parameter;
use config::proto::midstream::sql::v1::{Hash, KeySource, Sharding, Table, table};

fn rules(key_type: KeyType) -> Rules {
    let table = Table { name: "t".into(), key: "k".into(), key_type: key_type.into(), placement: Some(table::Placement::Hash(Hash::default())) };
    let sharding = Sharding { home: "s1".into(), tables: vec![table], ..Default::default() };
    Rules::compile(Some(&sharding), &["s0".to_string(), "s1".to_string(), "s2".to_string()]).unwrap()
}

fn slot(slot: u32) -> KeySource {
    KeySource { source: Some(key_source::Source::Slot(slot)), ..Default::default() }
}

fn by_key(keys: Vec<KeySource>) -> proto::ByKey {
    proto::ByKey { table: "t".into(), keys, ..Default::default() }
}

fn plan(rules: &Rules, to: route::To, merge: Option<proto::Merge>, splices: Vec<proto::Splice>) -> Result<Plan, Refusal> {
    let plan =
        proto::Plan { route: Some(proto::Route { to: Some(to) }), merge, splices, verb: "SELECT".into(), cacheable: true, ..Default::default() };
    Plan::decode(&plan.encode_to_vec(), rules)
}

fn target(rules: &Rules, plan: &Plan, sql: &str, parameters: &[Parameter<'_>]) -> Result<Target, Refusal> {
    let mut lexer = Lexer::default();
    let lexed = lexer.scan(sql.as_bytes(), Default::default()).unwrap();
    plan.target(rules, &Values { sql: sql.as_bytes(), lexed, parameters, utf8: true })
}

#[test]
fn literals_and_parameters_of_one_value_go_to_one_shard() {
    let rules = rules(KeyType::Integer);
    let plan = plan(&rules, route::To::ByKey(by_key(vec![slot(1)])), None, vec![]).unwrap();
    for key in [0i64, 1, 42, -7, i64::MIN] {
        let of = |value: &[u8], binary, type_oid| target(&rules, &plan, "select $1", &[Parameter { value: Some(value), binary, type_oid }]).unwrap();
        let expected = of(key.to_string().as_bytes(), false, 20);
        assert_eq!(of(&key.to_be_bytes(), true, 20), expected);
        assert_eq!(of(key.to_string().as_bytes(), false, 0), expected);
        if let Ok(small) = i16::try_from(key) {
            assert_eq!(of(&small.to_be_bytes(), true, 21), expected);
        }
        if key >= 0 {
            assert_eq!(target(&rules, &plan, &format!("select {key}"), &[]).unwrap(), expected);
        }
        assert_eq!(target(&rules, &plan, &format!("select '{key}'"), &[]).unwrap(), expected);
    }
}

#[test]
fn keys_on_several_shards_fan_out_only_where_the_plan_allows() {
    let rules = rules(KeyType::Integer);
    let keys = || vec![slot(1), slot(2), slot(3)];
    let refused = plan(&rules, route::To::ByKey(by_key(keys())), None, vec![]).unwrap();
    let sql = "select 0, 1, 42";
    let error = target(&rules, &refused, sql, &[]).unwrap_err();
    assert!(error.sqlstate == "0A000" && error.message.contains("sharding of t"), "{error}");
    assert!(matches!(target(&rules, &refused, "select 5, 5, 5", &[]), Ok(Target::One(_))));
    let subset = proto::ByKey { subset: true, ..by_key(keys()) };
    let allowed = plan(&rules, route::To::ByKey(subset.clone()), Some(proto::Merge::default()), vec![]).unwrap();
    let Target::Many(shards) = target(&rules, &allowed, sql, &[]).unwrap() else { panic!() };
    assert!(shards.len() > 1 && shards.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(plan(&rules, route::To::ByKey(subset), None, vec![]).is_err(), "several shards without a merge");
}

#[test]
fn null_matches_nothing_but_places_no_row() {
    let rules = rules(KeyType::Integer);
    let null = [Parameter { value: None, binary: false, type_oid: 20 }];
    let reads = plan(&rules, route::To::ByKey(by_key(vec![slot(1)])), None, vec![]).unwrap();
    assert_eq!(target(&rules, &reads, "select $1", &null), Ok(Target::Any));
    let places = plan(&rules, route::To::ByKey(proto::ByKey { places: true, ..by_key(vec![slot(1)]) }), None, vec![]).unwrap();
    assert!(target(&rules, &places, "select $1", &null).unwrap_err().message.contains("NULL"));
}

#[test]
fn text_keys_are_bytes_of_a_known_type_and_encoding() {
    let rules = rules(KeyType::Text);
    let source = KeySource { type_oid: 1043, ..slot(1) };
    let to = proto::ByKey { places: true, max_chars: 3, ..by_key(vec![source]) };
    let plan = plan(&rules, route::To::ByKey(to), None, vec![]).unwrap();
    let of = |sql: &str| target(&rules, &plan, sql, &[]);
    assert_eq!(of("select 'a''b'"), of(r"select E'a\'b'"));
    assert!(of("select 'abcd'").is_err(), "varchar(3) might cut it");
    assert!(of("select 'äöü'").is_ok());
    assert!(of("select 5").is_err() && of(r"select U&'a'").is_err());
    let char_n = [Parameter { value: Some(b"a"), binary: false, type_oid: 1042 }];
    assert!(target(&rules, &plan, "select $1", &char_n).is_err(), "char(n) ignores trailing spaces");
    let mut lexer = Lexer::default();
    let sql = "select 'ä'".as_bytes();
    let lexed = lexer.scan(sql, Default::default()).unwrap();
    assert!(plan.target(&rules, &Values { sql, lexed, parameters: &[], utf8: false }).is_err(), "another client encoding");
}

#[test]
fn an_array_of_keys_goes_to_the_shards_of_its_elements() {
    let rules = rules(KeyType::Integer);
    let source = KeySource { array: true, type_oid: 1016, ..slot(1) };
    let to = proto::ByKey { subset: true, ..by_key(vec![source]) };
    let plan = plan(&rules, route::To::ByKey(to), Some(proto::Merge::default()), vec![]).unwrap();
    let of = |text: &[u8]| target(&rules, &plan, "select $1", &[Parameter { value: Some(text), binary: false, type_oid: 0 }]);
    assert!(matches!(of(b"{1}"), Ok(Target::One(_))));
    assert_eq!(of(b"{}"), Ok(Target::Any));
    assert_eq!(of(b"{NULL}"), Ok(Target::Any));
    assert!(matches!(of(b"{0,1,42,43,44,45}"), Ok(Target::Many(_))));
    assert!(of(b"{1.5}").is_err());
}

#[test]
fn the_client_s_text_stays_but_for_the_splices() {
    let rules = rules(KeyType::Integer);
    let sql = "SELECT  name /* hint */ FROM t -- all\n ORDER BY id  LIMIT $1  OFFSET 5 ; select 2";
    let mut lexer = Lexer::default();
    let lexed = lexer.scan(sql.as_bytes(), Default::default()).unwrap();
    let normalised = std::str::from_utf8(lexed.normalised()).unwrap();
    let at = |what: &str| normalised.find(what).unwrap() as u32;
    let splice = |start, end, text: &str| proto::Splice { start, end, text: text.into() };
    let splices =
        vec![splice(at("from"), at("from"), ", id as h "), splice(at(" limit"), normalised.len() as u32, " limit (:p1)::bigint + (:p2)::bigint")];
    let scattered = plan(&rules, route::To::All(proto::All {}), Some(proto::Merge::default()), splices).unwrap();
    let mut out = Vec::new();
    scattered.text(lexed, sql.as_bytes(), &mut out);
    let expected = "SELECT  name /* hint */ , id as h FROM t -- all\n ORDER BY id limit ($1)::bigint + (5)::bigint";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert!(plan(&rules, route::To::Home(proto::Home {}), None, vec![splice(5, 2, "")]).is_err());
}

#[test]
fn other_routes() {
    let rules = rules(KeyType::Integer);
    let of = |to| target(&rules, &plan(&rules, to, Some(proto::Merge::default()), vec![]).unwrap(), "select", &[]);
    assert_eq!(of(route::To::Home(proto::Home {})), Ok(Target::One(1)));
    assert_eq!(of(route::To::Any(proto::AnyShard {})), Ok(Target::Any));
    assert_eq!(of(route::To::All(proto::All {})), Ok(Target::Many(vec![0, 1, 2])));
    let refuse = proto::Refuse { sqlstate: "0A000".into(), message: "no".into(), ..Default::default() };
    assert_eq!(of(route::To::Refuse(refuse)).unwrap_err().message, "no");
}

#[test]
fn a_malformed_answer_is_our_fault_not_a_panic() {
    let rules = rules(KeyType::Unspecified);
    assert_eq!(Plan::decode(b"\xff\xff", &rules).unwrap_err().sqlstate, "58000");
    assert_eq!(Plan::decode(b"", &rules).unwrap_err().sqlstate, "58000");
    let unknown = proto::ByKey { table: "x".into(), ..by_key(vec![slot(1)]) };
    assert!(plan(&rules, route::To::ByKey(unknown), None, vec![]).is_err());
    assert!(plan(&rules, route::To::ByKey(by_key(vec![slot(1)])), None, vec![]).is_err(), "no type of key");
}
