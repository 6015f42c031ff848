//! Real packets through the rules, in a "node" namespace with two pods. Needs root.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skiff_netlink::pod_network::{self, PodNetwork};
use skiff_netlink::{link, netns, nft};
use skiff_proxy::kernel::Kernel;
use skiff_proxy::model::{Endpoint, Key, Protocol, Service, ServicePort, Slice, State};
use skiff_proxy::ruleset::Ruleset;
use skiff_proxy::table::Table;
use skiff_proxy::{Config, rules};

const CLUSTER: &str = "proxy-test";
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);

struct Pod {
    namespace: PathBuf,
    ip: Ipv4Addr,
}

/// Removes the pins of namespaces, also when a test fails.
struct Unpin<'a>(&'a Path);

impl Drop for Unpin<'_> {
    fn drop(&mut self) {
        for name in ["a", "b", "node"] {
            let _ = netns::delete(&self.0.join(name));
        }
    }
}

/// Answers every connection with its own name and the address the client came from, until told to stop.
fn serve(
    namespace: PathBuf,
    name: &'static str,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let (ready, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        netns::run_in(&namespace, || {
            let listener = TcpListener::bind(address).expect("listen");
            ready.send(()).expect("test waits");
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.expect("accept");
                let peer = stream.peer_addr().expect("peer").ip();
                let _ = stream.write_all(format!("{name} {peer}").as_bytes());
            }
        })
        .expect("enter namespace");
    });
    wait.recv().expect("listener is up");
    thread
}

fn ask(namespace: &Path, address: SocketAddr) -> std::io::Result<String> {
    netns::run_in(namespace, || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
    .expect("enter namespace")
}

fn state(pods: &[&Pod]) -> State {
    let key = Key { namespace: "demo".into(), name: "web".into() };
    let port = ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) };
    let service = Service {
        key: key.clone(),
        cluster_ip: CLUSTER_IP,
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        ports: vec![port],
        affinity_seconds: None,
        external_local: false,
        internal_local: false,
        health_check_node_port: None,
    };
    let endpoints = pods.iter().map(|pod| Endpoint {
        address: pod.ip,
        ready: true,
        serving: true,
        terminating: false,
        node_name: Some("n1".into()),
        for_nodes: vec![],
        for_zones: vec![],
    });
    let slice = Slice { ports: vec![("http".into(), Protocol::Tcp, 8080)], endpoints: endpoints.collect() };
    let mut state = State { services: [(key.clone(), service)].into(), ..State::default() };
    state.add_slice(key, "web-1", slice);
    state
}

/// More endpoints than have a rule each.
const MANY: u16 = 12;
const NAMES: [&str; MANY as usize] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// A Service with an endpoint on each of these ports of a pod: a slice per port.
fn state_with_ports(pod: &Pod, ports: std::ops::Range<u16>) -> State {
    let mut state = state(&[pod]);
    let (key, slices) = state.slices.pop_first().expect("a slice");
    for port in ports {
        let mut slice = slices["web-1"].clone();
        slice.ports[0].2 = port;
        state.add_slice(key.clone(), &port.to_string(), slice);
    }
    state
}

/// What the Service adds to the table, or that it is gone.
fn parts(config: &Config, state: &State) -> Option<(Key, Option<Ruleset>)> {
    let key = Key { namespace: "demo".into(), name: "web".into() };
    let service = state.services.get(&key);
    Some((key, service.map(|service| rules::build_service(config, state, service))))
}

/// Everything below runs in one node, so that its parts share the set-up; each assertion names what it shows.
#[test]
fn services_reach_their_endpoints() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let _unpin = Unpin(dir.path());
    let node = dir.path().join("node");
    netns::create(&node).expect("node namespace");
    let config = Config {
        cluster: CLUSTER.into(),
        node_name: "n1".into(),
        pod_range: "10.244.0.0/16".parse().expect("range"),
        service_range: "10.96.0.0/12".parse().expect("range"),
        ..Config::default()
    };
    // A firewall as Docker leaves it behind: what it does not know is not forwarded.
    let firewall =
        "table ip filter {\n chain FORWARD {\n  type filter hook forward priority filter; policy drop;\n }\n}\n";
    netns::run_in(&node, || link::blocking(|_| nft::apply(firewall))).expect("enter node").expect("firewall");
    let pods = attach_pods(dir.path(), &node, &config);
    let stop = Arc::new(AtomicBool::new(false));
    let servers: Vec<_> = pods
        .iter()
        .zip(["a", "b"])
        .map(|(pod, name)| serve(pod.namespace.clone(), name, SocketAddr::new(IpAddr::V4(pod.ip), 8080), stop.clone()))
        .collect();

    // The kernel's table belongs to the namespace; its owner may come and go.
    let program = |states: Vec<State>| {
        netns::run_in(&node, || {
            link::blocking(|_| async {
                let mut kernel = Kernel::new(&config).await?;
                let mut table = Table::default();
                for state in &states {
                    let change = table.update(parts(&config, state));
                    kernel.apply(&table, &change).await?;
                }
                let same = table.update(parts(&config, &states[states.len() - 1]));
                assert!(!kernel.apply(&table, &same).await?, "nothing to change");
                Ok(())
            })
        })
        .expect("enter node")
        .expect("program");
    };
    let cluster = SocketAddr::new(IpAddr::V4(CLUSTER_IP), 80);
    let (a, b) = (&pods[0], &pods[1]);

    program(vec![State::default(), state(&[a, b])]);
    let answers: Vec<String> = (0..40).map(|_| ask(&b.namespace, cluster).expect("pod to service")).collect();
    assert!(answers.iter().any(|t| *t == format!("a {}", b.ip)), "the other pod sees the client: {answers:?}");
    assert!(answers.iter().any(|t| t.starts_with("b 10.244.7.1")), "a hairpin is masqueraded: {answers:?}");
    for target in [cluster, "127.0.0.1:30080".parse().expect("address")] {
        let answer = ask(&node, target).unwrap_or_else(|e| panic!("node to {target}: {e}"));
        assert!(answer.ends_with(" 10.244.7.1"), "{target}: {answer}");
    }
    ask(&b.namespace, "10.244.7.1:30080".parse().expect("address")).expect("pod to node port");

    program(vec![state(&[a, b]), state(&[b])]);
    for _ in 0..20 {
        assert!(ask(&node, cluster).expect("node to service").starts_with("b "), "a removed endpoint gets nothing");
    }

    program(vec![state(&[a, b]), state(&[])]);
    for target in [cluster, "10.96.0.77:80".parse().expect("address"), "10.244.7.1:30080".parse().expect("address")] {
        for from in [&b.namespace, &node] {
            let error = ask(from, target).expect_err("no endpoints");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{target}: {error}");
        }
    }
    let error = ask(&node, "127.0.0.1:30080".parse().expect("address")).expect_err("no endpoints");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "node port on loopback: {error}");

    let many = (9000..9000 + MANY).map(|port| {
        serve(
            a.namespace.clone(),
            NAMES[usize::from(port - 9000)],
            SocketAddr::new(IpAddr::V4(a.ip), port),
            stop.clone(),
        )
    });
    let many: Vec<_> = many.collect();
    program(vec![state_with_ports(a, 9000..9000 + MANY)]);
    let answered: BTreeSet<String> = (0..200).map(|_| ask(&b.namespace, cluster).expect("one of many")).collect();
    assert!(answered.len() > usize::from(MANY) / 2, "endpoints that share a map are all used: {answered:?}");

    netns::run_in(&node, || {
        link::blocking(|_| async {
            skiff_proxy::cleanup(CLUSTER, config.service_range).await?;
            let left = nft::list_chain("filter", "FORWARD").await?.expect("the firewall");
            assert!(!left.iter().any(|object| object.get("rule").is_some()), "{left:?}");
            Ok(())
        })
    })
    .expect("enter node")
    .expect("clean up");

    stop.store(true, Ordering::SeqCst);
    for (port, server) in (9000..).zip(many) {
        let _ = ask(&a.namespace, SocketAddr::new(IpAddr::V4(a.ip), port));
        server.join().expect("server");
    }
    for (pod, server) in pods.iter().zip(servers) {
        let _ = ask(&pod.namespace, SocketAddr::new(IpAddr::V4(pod.ip), 8080));
        server.join().expect("server");
    }
}

fn attach_pods(dir: &Path, node: &Path, config: &Config) -> Vec<Pod> {
    let namespaces = [dir.join("a"), dir.join("b")];
    for namespace in &namespaces {
        netns::create(namespace).expect("pod namespace");
    }
    let network = pod_network::Config {
        cluster: CLUSTER.into(),
        state_dir: dir.join("state"),
        mtu: 0,
        cluster_range: config.pod_range,
    };
    netns::run_in(node, || {
        link::blocking(|_| async {
            let network = PodNetwork::new(network).await?;
            network.set_pod_cidr("10.244.7.0/24".parse().expect("range"));
            let mut pods = Vec::new();
            for namespace in &namespaces {
                let id = namespace.display().to_string();
                pods.push(Pod { namespace: namespace.clone(), ip: network.attach(&id, namespace, &[]).await?.ip });
            }
            Ok(pods)
        })
    })
    .expect("enter node")
    .expect("attach")
}
