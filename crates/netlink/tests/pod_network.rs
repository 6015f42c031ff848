//! Pods in namespaces of their own, in a "node" that is a namespace too. Needs root.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_netlink::hostport::{PortMapping, Protocol};
use skiff_netlink::pod_network::{self, Config, PodNetwork};
use skiff_netlink::{link, netns, nft};

const CLUSTER: &str = "netlink-test";

/// Accepts one connection at `address` inside `namespace` and answers with the peer's address.
fn answer_once(namespace: PathBuf, address: SocketAddr) -> std::thread::JoinHandle<()> {
    let (ready, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        netns::run_in(&namespace, || {
            let listener = TcpListener::bind(address).expect("listen");
            ready.send(()).expect("test waits");
            let (mut stream, peer) = listener.accept().expect("accept");
            stream.write_all(peer.ip().to_string().as_bytes()).expect("answer");
        })
        .expect("enter namespace");
    });
    wait.recv().expect("listener is up");
    thread
}

fn ask(namespace: &Path, address: SocketAddr) -> String {
    netns::run_in(namespace, || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    })
    .expect("enter namespace")
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

#[test]
fn pods_reach_each_other_the_node_and_host_ports() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let _unpin = Unpin(dir.path());
    let path = |name: &str| dir.path().join(name);
    let (node, a, b) = (path("node"), path("a"), path("b"));
    for namespace in [&node, &a, &b] {
        netns::create(namespace).expect("create namespace");
    }
    let config = Config {
        cluster: CLUSTER.into(),
        state_dir: path("state"),
        mtu: 0,
        cluster_range: "10.244.0.0/16".parse().expect("range"),
    };
    let (address_a, address_b) = netns::run_in(&node, || {
        link::blocking(|_| async {
            let network = PodNetwork::new(config.clone()).await?;
            network.set_pod_cidr("10.244.7.0/24".parse().expect("range"));
            let mapping = PortMapping { host_ip: None, host_port: 8099, container_port: 9000, protocol: Protocol::Tcp };
            let first = network.attach("sandbox-a", &a, &[mapping]).await?;
            let again = network.attach("sandbox-a", &a, &[]).await?;
            assert_eq!(first, again, "attaching twice changes nothing");
            Ok((first, network.attach("sandbox-b", &b, &[]).await?))
        })
    })
    .expect("enter node")
    .expect("attach");
    assert_eq!(address_a.gateway, Ipv4Addr::new(10, 244, 7, 1));

    let at = |ip: Ipv4Addr, port| SocketAddr::new(IpAddr::V4(ip), port);
    let server = answer_once(a.clone(), at(address_a.ip, 9000));
    assert_eq!(ask(&b, at(address_a.ip, 9000)), address_b.ip.to_string(), "pod to pod keeps the source address");
    server.join().expect("server");

    let server = answer_once(a.clone(), at(address_a.ip, 9000));
    assert_eq!(ask(&node, at(address_a.ip, 9000)), "10.244.7.1", "node to pod comes from the gateway address");
    server.join().expect("server");

    let server = answer_once(a.clone(), at(address_a.ip, 9000));
    assert_eq!(ask(&b, at(address_b.gateway, 8099)), "10.244.7.1", "a host port leads to the pod, masqueraded");
    server.join().expect("server");

    netns::run_in(&node, || {
        link::blocking(|links| async move {
            pod_network::cleanup(CLUSTER, &config.state_dir).await?;
            assert!(links.with_alias(&format!("skiff/{CLUSTER}/")).await?.is_empty());
            assert!(nft::list_table("skiff_netlink_test_pods").await?.is_none());
            assert!(nft::list_table("skiff_netlink_test_hostports").await?.is_none());
            assert!(!config.state_dir.join("addresses").exists());
            Ok(())
        })
    })
    .expect("enter node")
    .expect("clean up");
}
