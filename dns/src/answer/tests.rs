//! Bytes in, bytes out.

use std::net::IpAddr;

use super::*;
use crate::index::{Endpoint, Key, Kind, Service, Slice};

fn index(endpoints: u8) -> Index {
    let mut index = Index::default();
    let key = |name: &str| Key { namespace: "demo".into(), name: name.into() };
    index.set_namespace("demo", true);
    let web = Service { kind: Kind::ClusterIp(vec![IpAddr::from([10, 96, 0, 7])]), ports: vec![] };
    index.set_service(&key("web"), Some(web));
    index.set_service(&key("db"), Some(Service { kind: Kind::Headless, ports: vec![] }));
    let external = |name: &str| Some(Service { kind: Kind::External(name.into()), ports: vec![] });
    index.set_service(&key("out"), external("example.org"));
    index.set_service(&key("in"), external("web.demo.svc.cluster.local"));
    for (alias, target) in
        [("first", "second"), ("second", "out"), ("third", "in"), ("ring", "round"), ("round", "ring")]
    {
        index.set_service(&key(alias), external(&format!("{target}.demo.svc.cluster.local")));
    }
    let endpoints = (0..endpoints)
        .map(|last| Endpoint { label: format!("db-{last}"), addresses: vec![IpAddr::from([10, 244, 0, last])] });
    index.set_slice(&key("db"), "db", Some(Slice { ports: vec![], endpoints: endpoints.collect() }));
    index
}

fn responder() -> Responder {
    Responder::new("cluster.local", Ipv4Addr::new(10, 96, 0, 10)).expect("a zone")
}

fn query(name: &str, kind: RecordType) -> Message {
    question(Name::from_ascii(name).expect("a name"), kind, 77)
}

fn respond(index: Option<&Index>, query: &Message, transport: Transport) -> (Message, usize) {
    match responder().decide(index, &query.to_vec().expect("encodes"), transport) {
        Outcome::Respond(response) => {
            let bytes = response.into_bytes();
            (Message::from_vec(&bytes).expect("decodes"), bytes.len())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_keeps_the_letters_of_the_question() {
    let (answer, _) = respond(Some(&index(0)), &query("WEB.demo.svc.Cluster.local.", RecordType::A), Transport::Udp);
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (77, ResponseCode::NoError));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert_eq!(answer.answers[0].to_string(), "WEB.demo.svc.Cluster.local. 5 IN A 10.96.0.7");
    assert_eq!(answer.queries[0].name().to_string(), "WEB.demo.svc.Cluster.local.");
    assert!(answer.edns.is_none());
}

#[test]
fn no_such_name_and_no_such_type_differ_and_both_can_be_remembered() {
    for (name, code) in [
        ("nope.demo.svc.cluster.local.", ResponseCode::NXDomain),
        ("web.demo.svc.cluster.local.", ResponseCode::NoError),
    ] {
        let (answer, _) = respond(Some(&index(0)), &query(name, RecordType::AAAA), Transport::Udp);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, 0), "{name}");
        let RData::SOA(soa) = &answer.authorities[0].data else { panic!("{:?}", answer.authorities) };
        assert_eq!((soa.minimum, answer.authorities[0].name.to_string()), (TTL, "cluster.local.".into()));
    }
}

#[test]
fn nothing_in_the_zone_is_denied_before_everything_is_known() {
    for name in ["web.demo.svc.cluster.local.", "nope.cluster.local.", "7.0.96.10.in-addr.arpa."] {
        let (answer, _) = respond(None, &query(name, RecordType::A), Transport::Udp);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{name}");
    }
    let outside = query("example.org.", RecordType::A).to_vec().expect("encodes");
    assert!(matches!(responder().decide(None, &outside, Transport::Udp), Outcome::Forward(_)));
}

#[test]
fn large_answers_fit_the_client_or_say_that_they_do_not() {
    let index = index(200);
    let mut asked = query("db.demo.svc.cluster.local.", RecordType::A);
    let (plain, size) = respond(Some(&index), &asked, Transport::Udp);
    assert!(plain.metadata.truncation && size <= 512 && plain.answers.len() > 20, "{size}");
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    let (extended, size) = respond(Some(&index), &asked, Transport::Udp);
    assert!(extended.metadata.truncation && size <= 1232 && extended.answers.len() > 60, "{size}");
    assert_eq!(extended.edns.as_ref().map(Edns::max_payload), Some(MAX_UDP_BYTES));
    let (stream, _) = respond(Some(&index), &asked, Transport::Tcp);
    assert!(!stream.metadata.truncation && stream.answers.len() == 200);
}

#[test]
fn aliases_are_followed_inside_and_handed_on_outside() {
    let (inside, _) = respond(Some(&index(0)), &query("in.demo.svc.cluster.local.", RecordType::A), Transport::Udp);
    let lines: Vec<String> = inside.answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "in.demo.svc.cluster.local. 5 IN CNAME web.demo.svc.cluster.local.",
            "web.demo.svc.cluster.local. 5 IN A 10.96.0.7"
        ]
    );
    let outside = query("out.demo.svc.cluster.local.", RecordType::A).to_vec().expect("encodes");
    match responder().decide(Some(&index(0)), &outside, Transport::Udp) {
        Outcome::Resolve(_, name, response) => {
            assert_eq!((name.to_string(), response.message.answers.len()), ("example.org.".into(), 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn chains_of_aliases_are_followed_to_their_end() {
    let index = index(0);
    let owners = |message: &Message| -> Vec<String> {
        message
            .answers
            .iter()
            .filter_map(|record| record.name.to_string().split('.').next().map(str::to_owned))
            .collect()
    };
    let (inside, _) = respond(Some(&index), &query("third.demo.svc.cluster.local.", RecordType::A), Transport::Udp);
    assert_eq!(owners(&inside), ["third", "in", "web"]);
    assert!(matches!(inside.answers[2].data, RData::A(_)));
    let outside = query("first.demo.svc.cluster.local.", RecordType::A).to_vec().expect("encodes");
    match responder().decide(Some(&index), &outside, Transport::Udp) {
        Outcome::Resolve(_, name, response) => {
            assert_eq!(
                (name.to_string(), owners(&response.message)),
                ("example.org.".into(), vec!["first".into(), "second".into(), "out".into()])
            );
        }
        other => panic!("{other:?}"),
    }
    let (round, _) = respond(Some(&index), &query("ring.demo.svc.cluster.local.", RecordType::A), Transport::Udp);
    assert_eq!(owners(&round), ["ring"], "what goes round ends where it was");
    let (alone, _) = respond(Some(&index), &query("first.demo.svc.cluster.local.", RecordType::CNAME), Transport::Udp);
    assert_eq!(owners(&alone), ["first"]);
}

#[test]
fn what_is_not_a_fair_question_is_told_so() {
    let code = |message: &Message| respond(Some(&index(0)), message, Transport::Udp).0.metadata.response_code;
    let mut update = query("cluster.local.", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&query("cluster.local.", RecordType::AXFR)), ResponseCode::Refused);
    let mut none = query("cluster.local.", RecordType::A);
    none.queries.clear();
    assert_eq!(code(&none), ResponseCode::FormErr);
    let mut newer = query("cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    assert_eq!(u16::from(code(&newer)), u16::from(ResponseCode::BADVERS));
}

#[test]
fn no_bytes_make_it_panic_and_no_response_is_answered() {
    let responder = responder();
    let good = query("web.demo.svc.cluster.local.", RecordType::A).to_vec().expect("encodes");
    for length in 0..good.len() {
        let outcome = responder.decide(None, &good[..length], Transport::Udp);
        assert!(matches!((length >= 12, outcome), (false, Outcome::Ignore) | (true, Outcome::Respond(_))), "{length}");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert!(matches!(responder.decide(None, &response, Transport::Udp), Outcome::Ignore));
    assert!(matches!(responder.decide(None, &response[..20], Transport::Udp), Outcome::Ignore));
}
