//! Services and names, from the API to real packets: API server, proxy and DNS in one process, in a namespace of each
//! test's own. Needs root.

mod fixture;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fixture::{NODE, Node, ask, ask_in, found, in_node, until};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use skiff_netlink::link::Links;
use skiff_netlink::{netns, nft};

fn both_ports() -> serde_json::Value {
    json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": 30081}])
}

fn cluster_ip(service: &Service) -> Ipv4Addr {
    let spec = service.spec.as_ref().expect("spec");
    spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok()).expect("a cluster IP")
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 30080);

#[test]
fn a_service_lives_from_its_creation_to_its_deletion() {
    in_node("life", |node| async move {
        let (stop, proxy) = node.start_proxy();
        let web = node.create_service("web", json!({"type": "NodePort", "ports": both_ports()})).await;
        let (address, pod) = (SocketAddr::from((cluster_ip(&web), 80)), node.pods[0].namespace.clone());
        let refused = |result: &std::io::Result<String>| matches!(result, Err(error) if error.kind() == ErrorKind::ConnectionRefused);
        // Without endpoints it is refused at once, from everywhere. A node port that is not there yet is refused, too,
        // so that a first answer shows that the rules are.
        node.set_endpoints("web", &[&node.pods[1]]).await;
        until("served on loopback", || ask(LOOPBACK), Result::is_ok).await;
        node.set_endpoints("web", &[]).await;
        until("refused on loopback", || ask(LOOPBACK), refused).await;
        for target in [address, LOOPBACK] {
            let answer = ask(target);
            assert!(refused(&answer), "from the node to {target}: {answer:?}");
        }
        assert!(refused(&ask_in(&pod, address)), "from a pod");

        node.set_endpoints("web", &[&node.pods[1]]).await;
        until("served on loopback", || ask(LOOPBACK), |answer| matches!(answer.as_deref(), Ok("b"))).await;
        assert_eq!(ask(address).expect("from the node"), "b");
        assert_eq!(ask_in(&pod, address).expect("from a pod"), "b");

        // Someone flushes the rules: they come back.
        nft::delete_table("skiff_life_proxy").await.expect("delete the table");
        until("healed", || ask(LOOPBACK), |answer| matches!(answer.as_deref(), Ok("b"))).await;

        // So does the route to the Services, which nothing needs while there is a default route.
        let links = Links::open().expect("netlink");
        links.delete_range("lo", "10.96.0.0/12".parse().expect("range")).await.expect("delete the route");
        links.delete("up0").await.expect("leave the network");
        until("routed again", || ask(address), |answer| matches!(answer.as_deref(), Ok("b"))).await;

        let services: Api<Service> = Api::namespaced(node.client.clone(), "default");
        services.delete("web", &DeleteParams::default()).await.expect("delete");
        until("gone", || ask(LOOPBACK), refused).await;
        until("gone", || ask_in(&pod, address), refused).await;

        stop.cancel();
        proxy.await.expect("no panic").expect("ends well");
        assert!(nft::has_rules("skiff_life_proxy", "services").await.expect("list"), "rules outlive the proxy");
        skiff_proxy::cleanup("life", "10.96.0.0/12".parse().expect("range")).await.expect("clean up");
        assert_eq!(nft::list_table("skiff_life_proxy").await.expect("list"), None);
        node.end().await;
    });
}

/// Connects to loopback's node port at up to 800 connections a second from four threads until told to stop. Returns
/// how many connections there were, and what went wrong.
fn load(stop: &Arc<AtomicBool>, done: &Arc<AtomicU64>) -> Vec<std::thread::JoinHandle<Vec<String>>> {
    let threads = (0..4).map(|_| {
        let (stop, done) = (stop.clone(), done.clone());
        std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let next = Instant::now() + Duration::from_millis(5);
                match ask(LOOPBACK) {
                    Ok(name) if name == "a" || name == "b" => {}
                    other => failures.push(format!("{other:?}")),
                }
                done.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            failures
        })
    });
    threads.collect()
}

#[test]
fn no_connection_fails_while_endpoints_change_and_the_proxy_restarts() {
    in_node("swap", |node| async move {
        let (mut stop, mut proxy) = node.start_proxy();
        node.create_service("web", json!({"type": "NodePort", "ports": both_ports()})).await;
        node.set_endpoints("web", &[&node.pods[0]]).await;
        until("served", || ask(LOOPBACK), Result::is_ok).await;

        let (ending, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = load(&ending, &done);
        let started = Instant::now();
        let mut slowest = Duration::ZERO;
        for round in 0..20 {
            // As a rolling update: the new one comes, both serve, the old one goes; a is old and new in turn.
            let (old, new) = (&node.pods[round % 2], &node.pods[(round + 1) % 2]);
            node.set_endpoints("web", &[old, new]).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
            let changed = Instant::now();
            node.set_endpoints("web", &[new]).await;
            let name = ["a", "b"][(round + 1) % 2];
            // Only the new one answers, several times over: random choice cannot look like it.
            let only_new = || (0..10).all(|_| matches!(ask(LOOPBACK), Ok(answer) if answer == name));
            until("the old one is out", only_new, |yes| *yes).await;
            slowest = slowest.max(changed.elapsed());
            if round % 5 == 4 {
                // The task is dropped in the middle of whatever it does, as a killed process would be.
                proxy.abort();
                stop.cancel();
                tokio::time::sleep(Duration::from_millis(50)).await;
                (stop, proxy) = node.start_proxy();
            }
        }
        ending.store(true, Ordering::SeqCst);
        let failures: Vec<String> = clients.into_iter().flat_map(|client| client.join().expect("client")).collect();
        let rate = done.load(Ordering::SeqCst) as f64 / started.elapsed().as_secs_f64();
        assert_eq!(failures, Vec::<String>::new(), "of {} connections", done.load(Ordering::SeqCst));
        assert!(rate >= 200.0, "only {rate} connections a second");
        eprintln!("{rate:.0} connections a second, slowest change {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "a change took {slowest:?} to be seen by all");
        stop.cancel();
        node.end().await;
    });
}

/// Sends on one socket, so that all packets are one flow, until `name` answers.
async fn udp_until(socket: &UdpSocket, name: &str) {
    let exchange = || {
        let _ = socket.send(b"x");
        let mut buffer = [0; 64];
        socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    until("an answer by UDP", exchange, |answer| matches!(answer.as_deref(), Ok(have) if have == name)).await;
}

#[test]
fn a_udp_flow_follows_the_endpoints() {
    in_node("udp", |node| async move {
        let (stop, _proxy) = node.start_proxy();
        let web = node.create_service("web", json!({"type": "NodePort", "ports": both_ports()})).await;
        node.set_endpoints("web", &[&node.pods[0]]).await;
        let targets = [(cluster_ip(&web), 80), (Ipv4Addr::LOCALHOST, 30081)];
        let sockets = targets.map(|target| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
            socket.connect(target).expect("connect");
            socket
        });
        for (endpoint, name) in [(0, "a"), (1, "b"), (0, "a")] {
            node.set_endpoints("web", &[&node.pods[endpoint]]).await;
            for socket in &sockets {
                udp_until(socket, name).await;
            }
        }
        stop.cancel();
        node.end().await;
    });
}

#[test]
fn affinity_keeps_a_client_with_its_endpoint() {
    in_node("affinity", |node| async move {
        let (stop, _proxy) = node.start_proxy();
        let spec = json!({"ports": [{"name": "tcp", "port": 80}], "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
        let address = SocketAddr::from((cluster_ip(&node.create_service("web", spec).await), 80));
        let (a, b) = (&node.pods[0], &node.pods[1]);
        node.set_endpoints("web", &[a, b]).await;
        let first = found("served", || ask(address), Result::is_ok).await.expect("an answer");
        for _ in 0..20 {
            assert_eq!(ask(address).expect("an answer"), first);
        }
        // A proxy that takes over remembers the clients.
        stop.cancel();
        let (stop, _proxy) = node.start_proxy();
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..20 {
            assert_eq!(ask(address).expect("an answer"), first);
        }
        // Its endpoint goes: another one takes over.
        let (gone, other, name) = if first == "a" { (a, b, "b") } else { (b, a, "a") };
        assert_ne!(gone.ip, other.ip);
        node.set_endpoints("web", &[other]).await;
        until("moved", || ask(address), |answer| matches!(answer.as_deref(), Ok(have) if have == name)).await;
        stop.cancel();
        node.end().await;
    });
}

/// What a health check port says: status line and body.
fn http_get(address: SocketAddr) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn policy_local_tells_load_balancers_and_falls_back_to_terminating_endpoints() {
    in_node("local", |node| async move {
        let (stop, _proxy) = node.start_proxy();
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32001,
            "ports": [{"name": "tcp", "port": 80, "nodePort": 30080}]});
        node.create_service("web", spec).await;
        node.set_endpoints("web", &[&node.pods[0]]).await;
        let check = SocketAddr::from((Ipv4Addr::LOCALHOST, 32001));
        let says = |code: &'static str, count: &'static str| {
            move |answer: &std::io::Result<String>| {
                answer.as_ref().is_ok_and(|text| text.contains(&format!("HTTP/1.1 {code}")) && text.contains(count))
            }
        };
        until("one endpoint here", || http_get(check), says("200", "\"localEndpoints\":1")).await;

        // It terminates but still serves: load balancers are told to go away, and who comes is served still.
        let conditions = json!({"ready": false, "serving": true, "terminating": true});
        node.set_slice("web", json!([{"addresses": [node.pods[0].ip], "nodeName": NODE, "conditions": conditions}]))
            .await;
        until("none is ready here", || http_get(check), says("503", "\"localEndpoints\":0")).await;
        assert_eq!(ask(LOOPBACK).expect("served until the end"), "a");
        stop.cancel();
        node.end().await;
    });
}

/// Asks for a name by UDP or TCP from a namespace (the node's own if there is none) and returns code and addresses.
fn resolve(node: Option<&std::path::Path>, name: &str, tcp: bool) -> std::io::Result<(u8, Vec<Ipv4Addr>)> {
    use std::io::{Read, Write};
    let server = SocketAddr::from((Ipv4Addr::new(10, 96, 0, 10), 53));
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let exchange = || -> std::io::Result<Vec<u8>> {
        let limit = Some(Duration::from_secs(2));
        if tcp {
            let mut stream = std::net::TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
            stream.set_read_timeout(limit)?;
            stream.write_all(&[&(query.len() as u16).to_be_bytes(), &*query].concat())?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer)?;
            return Ok(answer);
        }
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(limit)?;
        socket.connect(server)?;
        socket.send(&query)?;
        let mut answer = vec![0; 1500];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    let answer = match node {
        Some(namespace) => netns::run_in(namespace, exchange).expect("enter the namespace")?,
        None => exchange()?,
    };
    assert_eq!(answer[..2], query[..2], "the answer to another question");
    let count = usize::from(answer[7]);
    // Records follow the question; each is a pointer to its name, type, class, ttl, length and four bytes.
    let records = &answer[query.len()..query.len() + 16 * count];
    let addresses = records.chunks(16).map(|record| Ipv4Addr::from(*record.last_chunk::<4>().expect("four bytes")));
    Ok((answer[3] & 0xf, addresses.collect()))
}

#[test]
fn names_lead_to_services() {
    in_node("names", |node: Node| async move {
        let (stop_proxy, _proxy) = node.start_proxy();
        let (stop, dns) = node.start_dns();
        let web = node.create_service("web", json!({"ports": [{"name": "tcp", "port": 80}]})).await;
        node.create_service("db", json!({"clusterIP": "None", "ports": [{"name": "tcp", "port": 80}]})).await;
        node.set_endpoints("web", &[&node.pods[1]]).await;
        node.set_endpoints("db", &[&node.pods[0], &node.pods[1]]).await;
        let pod = node.pods[0].namespace.clone();
        let from_pod = |name: &'static str| {
            let pod = pod.clone();
            move || resolve(Some(&pod), name, false)
        };
        let has_addresses =
            |answer: &std::io::Result<(u8, Vec<Ipv4Addr>)>| matches!(answer, Ok((0, found)) if !found.is_empty());
        let (_, addresses) =
            found("a name", from_pod("web.default.svc.cluster.local"), has_addresses).await.expect("found");
        assert_eq!(addresses, [cluster_ip(&web)]);
        // DNS and the proxy learn of a Service each in their own time.
        let by_name = || ask_in(&pod, (addresses[0], 80).into());
        until("served by name", by_name, |answer| matches!(answer.as_deref(), Ok("b"))).await;
        let headless = || {
            let mut answer = resolve(Some(&pod), "db.default.svc.cluster.local", false);
            if let Ok((_, addresses)) = &mut answer {
                addresses.sort_unstable();
            }
            answer
        };
        let both = vec![node.pods[0].ip, node.pods[1].ip];
        until("both endpoints", headless, |answer| matches!(answer, Ok((0, found)) if *found == both)).await;
        // By TCP, and from the node itself; the API server has a name, too.
        for (from, tcp) in [(Some(pod.as_path()), true), (None, false), (None, true)] {
            let answer = tokio::task::block_in_place(|| resolve(from, "kubernetes.default.svc.cluster.local", tcp));
            assert_eq!(answer.expect("an answer"), (0, vec![Ipv4Addr::new(10, 96, 0, 1)]), "{from:?} tcp {tcp}");
        }
        let answer = resolve(Some(&pod), "nope.default.svc.cluster.local", false).expect("an answer");
        assert_eq!(answer, (3, vec![]), "no such name");
        let answer = resolve(Some(&pod), "example.org", false).expect("an answer");
        assert_eq!(answer, (5, vec![]), "nobody to ask for other names");

        // Someone deletes the Service: it comes back.
        let services: Api<Service> = Api::namespaced(node.client.clone(), "kube-system");
        services.delete("kube-dns", &DeleteParams::default()).await.expect("delete");
        until("a name again", from_pod("web.default.svc.cluster.local"), has_addresses).await;

        // A new server takes the same port, so that the rules stay true.
        let port = || async {
            let slices: Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
                Api::namespaced(node.client.clone(), "kube-system");
            let slice = slices.get("kube-dns-n1").await.expect("the slice");
            slice.ports.expect("ports")[0].port
        };
        let before = port().await;
        stop.cancel();
        dns.await.expect("no panic").expect("ends well");
        let (stop, _dns) = node.start_dns();
        until("a name again", from_pod("web.default.svc.cluster.local"), has_addresses).await;
        assert_eq!(port().await, before);
        stop.cancel();
        stop_proxy.cancel();
        node.end().await;
    });
}
