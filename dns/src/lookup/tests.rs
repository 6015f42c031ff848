//! Names of a small cluster, and what they answer.

use super::*;
use crate::index::{Endpoint, Port};

fn port(name: &str, protocol: &str, number: u16) -> Port {
    Port { name: name.into(), protocol: protocol.into(), number }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn index() -> Index {
    let mut index = Index::default();
    let key = |name: &str| Key { namespace: "demo".into(), name: name.into() };
    index.set_namespace("demo", true);
    index.set_service(
        &key("web"),
        Some(Service {
            kind: Kind::ClusterIp(vec![address("10.96.0.7")]),
            ports: vec![port("http", "tcp", 80), port("", "udp", 81)],
        }),
    );
    index.set_service(&key("db"), Some(Service { kind: Kind::Headless, ports: vec![port("sql", "tcp", 5432)] }));
    index.set_service(&key("empty"), Some(Service { kind: Kind::Headless, ports: vec![] }));
    index.set_service(&key("out"), Some(Service { kind: Kind::External("example.org".into()), ports: vec![] }));
    let endpoint = |label: &str, ip: &str| Endpoint { label: label.into(), addresses: vec![address(ip)] };
    index.set_slice(
        &key("db"),
        "db-x",
        Some(Slice {
            ports: vec![port("sql", "tcp", 5432)],
            endpoints: vec![endpoint("db-0", "10.244.0.2"), endpoint("10-244-0-3", "10.244.0.3")],
        }),
    );
    let slice = Slice { ports: vec![port("http", "tcp", 8080)], endpoints: vec![endpoint("10-244-0-9", "10.244.0.9")] };
    index.set_slice(&key("web"), "web-x", Some(slice));
    index
}

/// One line for an answer: records, then additional ones after a bar.
fn ask(name: &str, asked: Asked) -> String {
    let zone = Zone::new("cluster.local.", Ipv4Addr::new(10, 96, 0, 10));
    let labels: Vec<&str> = name.split('.').collect();
    let show = |data: &Data| match data {
        Data::A(address) => address.to_string(),
        Data::Aaaa(address) => address.to_string(),
        Data::Srv(weight, port, target) => format!("{weight} {port} {target}"),
        Data::Ptr(name) | Data::Ns(name) => name.clone(),
        Data::Txt(text) => (*text).to_owned(),
        Data::Soa => "soa".into(),
    };
    match lookup(&index(), &zone, &labels, asked) {
        Answer::NoName => "no name".into(),
        Answer::Elsewhere => "elsewhere".into(),
        Answer::Alias(name) => format!("alias {name}"),
        Answer::Records(records, additional) => {
            let mut line = records.iter().map(show).collect::<Vec<_>>().join(", ");
            for (name, data) in additional {
                line.push_str(&format!(" | {name} {}", show(&data)));
            }
            line
        }
    }
}

#[test]
fn names_answer_as_the_specification_says() {
    let db = "db.demo.svc.cluster.local";
    for (name, asked, expected) in [
        // A Service with an address.
        ("web.demo.svc.cluster.local", Asked::A, "10.96.0.7"),
        ("web.demo.svc.cluster.local", Asked::Aaaa, ""),
        ("web.demo.svc.cluster.local", Asked::Txt, ""),
        (
            "_http._tcp.web.demo.svc.cluster.local",
            Asked::Srv,
            "100 80 web.demo.svc.cluster.local | web.demo.svc.cluster.local 10.96.0.7",
        ),
        ("_http._tcp.web.demo.svc.cluster.local", Asked::A, ""),
        ("_tcp.web.demo.svc.cluster.local", Asked::A, ""),
        ("_sctp.web.demo.svc.cluster.local", Asked::A, "no name"),
        ("_http._udp.web.demo.svc.cluster.local", Asked::Srv, "no name"),
        ("_._udp.web.demo.svc.cluster.local", Asked::Srv, "no name"),
        ("10-244-0-9.web.demo.svc.cluster.local", Asked::A, "10.244.0.9"),
        ("10-244-0-8.web.demo.svc.cluster.local", Asked::A, "no name"),
        ("a.b.web.demo.svc.cluster.local", Asked::A, "no name"),
        ("7.0.96.10.in-addr.arpa", Asked::Ptr, "web.demo.svc.cluster.local"),
        ("7.0.96.10.in-addr.arpa", Asked::A, ""),
        // A headless Service.
        (db, Asked::A, "10.244.0.2, 10.244.0.3"),
        (db, Asked::Aaaa, ""),
        ("db-0.db.demo.svc.cluster.local", Asked::A, "10.244.0.2"),
        ("10-244-0-2.db.demo.svc.cluster.local", Asked::A, "no name"),
        (
            "_sql._tcp.db.demo.svc.cluster.local",
            Asked::Srv,
            "50 5432 db-0.db.demo.svc.cluster.local, 50 5432 10-244-0-3.db.demo.svc.cluster.local \
             | db-0.db.demo.svc.cluster.local 10.244.0.2 | 10-244-0-3.db.demo.svc.cluster.local 10.244.0.3",
        ),
        ("2.0.244.10.in-addr.arpa", Asked::Ptr, "db-0.db.demo.svc.cluster.local"),
        ("empty.demo.svc.cluster.local", Asked::A, "no name"),
        // A Service that stands for another name.
        ("out.demo.svc.cluster.local", Asked::A, "alias example.org"),
        ("x.out.demo.svc.cluster.local", Asked::A, "no name"),
        // Pods.
        ("10-244-0-77.demo.pod.cluster.local", Asked::A, "10.244.0.77"),
        ("10-244-0-77.demo.pod.cluster.local", Asked::Aaaa, ""),
        ("fd00--7.demo.pod.cluster.local", Asked::Aaaa, "fd00::7"),
        ("10-244-0-77.other.pod.cluster.local", Asked::A, "no name"),
        ("10-244-0-777.demo.pod.cluster.local", Asked::A, "no name"),
        // What is between names exists, but has nothing.
        ("demo.svc.cluster.local", Asked::A, ""),
        ("other.svc.cluster.local", Asked::A, "no name"),
        ("svc.cluster.local", Asked::A, ""),
        ("dns.cluster.local", Asked::A, ""),
        ("web.demo.cluster.local", Asked::A, "no name"),
        ("web.other.svc.cluster.local", Asked::A, "no name"),
        // The zone itself.
        ("cluster.local", Asked::Soa, "soa"),
        ("cluster.local", Asked::A, ""),
        ("cluster.local", Asked::Ns, "ns.dns.cluster.local | ns.dns.cluster.local 10.96.0.10"),
        ("ns.dns.cluster.local", Asked::A, "10.96.0.10"),
        ("dns-version.cluster.local", Asked::Txt, "1.1.0"),
        // The search path's other attempts, and the rest of the world.
        ("web.demo.demo.svc.cluster.local", Asked::A, "no name"),
        ("example.org.demo.svc.cluster.local", Asked::A, "no name"),
        ("example.org", Asked::A, "elsewhere"),
        ("local", Asked::A, "elsewhere"),
        ("4.3.2.1.in-addr.arpa", Asked::Ptr, "elsewhere"),
        ("x.0.96.10.in-addr.arpa", Asked::Ptr, "elsewhere"),
    ] {
        assert_eq!(ask(name, asked), expected, "{asked:?} {name}");
    }
}

#[test]
fn reverse_names_of_ipv6() {
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let labels: Vec<&str> = name.split('.').collect();
    assert_eq!(reverse_address(&labels), Some(address("2001:db8::1")));
    let wrong = name.replacen('1', "11", 1);
    assert_eq!(reverse_address(&wrong.split('.').collect::<Vec<_>>()), None);
}
