//! The PKI's promises, with a clock of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn start() -> Timestamp {
    at("2026-11-21T00:00:00Z")
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

fn config(dir: &Path) -> PkiConfig {
    PkiConfig {
        dir: dir.join("pki"),
        node_name: "node-1".into(),
        cluster_domain: "cluster.local".into(),
        service_ip: "10.96.0.1".parse().expect("an address"),
        node_ips: vec!["192.0.2.7".parse().expect("an address")],
        extra_sans: vec!["api.example.com".into(), "2001:db8::7".into()],
    }
}

fn facts(credential: &Credential) -> CertificateFacts {
    inspect_pem(&credential.certificate_pem).expect("a certificate")
}

#[test]
fn is_the_same_when_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let first = Pki::open(&config, start()).expect("a new PKI");
    let node = first.client(&Identity::Node("node-1".into()), start()).expect("a certificate");
    for _ in 0..2 {
        let again = Pki::open(&config, start() + days(30)).expect("the same PKI");
        assert_eq!(again.ca().certificate_pem(), first.ca().certificate_pem());
        assert_eq!(again.front_proxy_ca().certificate_pem(), first.front_proxy_ca().certificate_pem());
        assert_eq!(again.service_account_key_pem(), first.service_account_key_pem());
        assert_eq!(again.serving(), first.serving());
        assert_eq!(again.front_proxy_client(), first.front_proxy_client());
        assert_eq!(again.client(&Identity::Node("node-1".into()), start() + days(30)).expect("it"), node);
        assert_eq!(again.renew(start() + days(30)).expect("nothing to do"), Vec::<String>::new());
    }
}

#[test]
fn certificates_say_who_they_are_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(&config(dir.path()), start()).expect("a new PKI");
    let serving = facts(&pki.serving());
    assert_eq!(
        serving.dns_names,
        [
            "api.example.com",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "node-1"
        ]
    );
    let ips = serving.ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ips, ["10.96.0.1", "127.0.0.1", "192.0.2.7", "2001:db8::7"]);
    let cases = [
        (Identity::Admin, "kubernetes-admin", vec!["kubeadm:cluster-admins"]),
        (Identity::Scheduler, "system:kube-scheduler", vec![]),
        (Identity::ControllerManager, "system:kube-controller-manager", vec![]),
        (Identity::Proxy, "system:kube-proxy", vec![]),
        (Identity::Node("n1".into()), "system:node:n1", vec!["system:nodes"]),
        (Identity::KubeletClient, "kube-apiserver-kubelet-client", vec!["system:masters"]),
    ];
    for (identity, user, groups) in cases {
        let facts = facts(&pki.client(&identity, start()).expect("a certificate"));
        assert_eq!(
            (facts.common_name.as_str(), facts.organizations.as_slice()),
            (user, &groups.iter().map(|g| g.to_string()).collect::<Vec<_>>()[..])
        );
        assert!(!facts.is_ca);
    }
    let kubelet = facts(&pki.kubelet_serving("n1", &["192.0.2.8".parse().expect("an address")], start()).expect("it"));
    assert_eq!(
        (kubelet.common_name.as_str(), kubelet.dns_names.as_slice()),
        ("system:node:n1", &["n1".to_owned()][..])
    );
}

#[test]
fn leaves_are_renewed_in_the_last_third_of_their_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let pki = Pki::open(&config, start()).expect("a new PKI");
    let (ca, before) = (pki.ca().certificate_pem().to_owned(), pki.serving());
    assert_eq!(pki.renew(start() + days(243)).expect("nothing to do"), Vec::<String>::new());
    let renewed = pki.renew(start() + days(244)).expect("new certificates");
    assert_eq!(renewed, ["admin", "apiserver", "apiserver-kubelet-client", "front-proxy-client"]);
    assert_ne!(pki.serving(), before);
    assert!(facts(&pki.serving()).not_after > start() + days(600));
    // The same after years of being switched off, when everything but the authorities has expired.
    let later = start() + days(5 * 365);
    let pki = Pki::open(&config, later).expect("renewed at start");
    assert_eq!(pki.ca().certificate_pem(), ca);
    assert!(facts(&pki.serving()).not_after > later);
}

#[test]
fn leaves_end_with_their_authority_and_are_then_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let end = Pki::open(&config, start()).expect("a new PKI").ca().not_after();
    let pki = Pki::open(&config, end - days(60)).expect("a PKI in its last year");
    assert_eq!(facts(&pki.serving()).not_after, end);
    assert_eq!(pki.renew(end - days(1)).expect("nothing to gain"), Vec::<String>::new());
    let error = Pki::open(&config, end).err().expect("an expired authority").to_string();
    assert!(error.contains("ca.crt expired on 2036-11-18") && error.contains("start with a new PKI"), "{error}");
}

#[test]
fn serving_certificate_follows_the_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path());
    let first = Pki::open(&config, start()).expect("a new PKI");
    config.node_ips.push("192.0.2.99".parse().expect("an address"));
    let second = Pki::open(&config, start()).expect("the same PKI");
    assert_ne!(first.serving(), second.serving());
    assert_eq!(first.front_proxy_client(), second.front_proxy_client());
    assert!(facts(&second.serving()).ips.contains(&"192.0.2.99".parse().expect("an address")));
}

#[test]
fn what_is_lost_halfway_is_made_again_and_what_is_damaged_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let pki = Pki::open(&config, start()).expect("a new PKI");
    let read = |name: &str| std::fs::read_to_string(config.dir.join(name)).expect("a file");
    let write = |name: &str, text: &str| std::fs::write(config.dir.join(name), text).expect("written");
    // A crash between a leaf's key and its certificate.
    write("apiserver.key", &read("front-proxy-client.key"));
    let again = Pki::open(&config, start()).expect("a new leaf");
    assert_ne!(again.serving(), pki.serving());
    // A leaf that somebody else signed.
    write("admin.crt", &read("front-proxy-client.crt"));
    write("admin.key", &read("front-proxy-client.key"));
    let again = Pki::open(&config, start()).expect("a new leaf");
    assert_eq!(facts(&again.client(&Identity::Admin, start()).expect("it")).common_name, "kubernetes-admin");
    // Authorities are never made again while there is a trace of them.
    for (name, damage, message) in [
        ("ca.crt", Some("nonsense"), "ca.crt is not a PEM certificate"),
        ("ca.crt", Some(read("front-proxy-ca.crt").as_str()), "ca.crt does not belong to"),
        ("ca.crt", Some(read("admin.crt").as_str()), "ca.crt is not a certificate authority"),
        ("ca.key", None, "ca.key is missing beside"),
        ("ca.key", Some(""), "ca.key is not a private key"),
        ("sa.key", Some("x"), "sa.key is not a private key"),
    ] {
        let good = read(name);
        match damage {
            Some(text) => write(name, text),
            None => std::fs::remove_file(config.dir.join(name)).expect("removed"),
        }
        let error = Pki::open(&config, start()).err().expect("damage is refused").to_string();
        assert!(error.contains(message) && error.contains("restore it from a backup"), "{error}");
        write(name, &good);
    }
    Pki::open(&config, start()).expect("whole again");
}

#[test]
fn nobody_else_can_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    Pki::open(&config, start()).expect("a new PKI");
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    std::fs::set_permissions(config.dir.join("ca.key"), std::fs::Permissions::from_mode(0o644)).expect("set");
    std::fs::set_permissions(&config.dir, std::fs::Permissions::from_mode(0o755)).expect("set");
    Pki::open(&config, start()).expect("the same PKI");
    assert_eq!(mode(&config.dir), 0o700);
    for entry in std::fs::read_dir(&config.dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn openssl_agrees() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let now = Timestamp::now();
    let pki = Pki::open(&config, now).expect("a new PKI");
    pki.client(&Identity::Node("n1".into()), now).expect("a certificate");
    let file = |name: &str| config.dir.join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().expect("openssl, which is part of every Debian");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (leaf, ca, purpose, good) in [
        ("apiserver.crt", "ca.crt", "sslserver", true),
        ("admin.crt", "ca.crt", "sslclient", true),
        ("node-n1-client.crt", "ca.crt", "sslclient", true),
        ("front-proxy-client.crt", "front-proxy-ca.crt", "sslclient", true),
        ("front-proxy-client.crt", "ca.crt", "sslclient", false),
        ("admin.crt", "ca.crt", "sslserver", false),
    ] {
        let (verified, _) =
            openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &file(ca), &file(leaf)]);
        assert_eq!(verified, good, "{leaf} by {ca} as {purpose}");
    }
    let (_, subject) =
        openssl(&["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", &file("node-n1-client.crt")]);
    assert_eq!(subject.trim(), "subject=CN=system:node:n1,O=system:nodes");
    let (_, public) = openssl(&["pkey", "-pubout", "-in", &file("sa.key")]);
    assert_eq!(public, std::fs::read_to_string(file("sa.pub")).expect("a public key").replace("\r\n", "\n"));
}

#[test]
fn kubeconfig_carries_everything() {
    let credential = Credential { certificate_pem: "C".into(), key_pem: "K".into() };
    let config = kubeconfig::Kubeconfig {
        cluster: "skiff",
        context: "skiff",
        user: "skiff-admin",
        server: "https://127.0.0.1:6443",
        ca_pem: "A",
        credential: &credential,
    };
    assert_eq!(
        config.render(),
        r#"apiVersion: v1
kind: Config
clusters:
- name: "skiff"
  cluster:
    certificate-authority-data: QQ==
    server: "https://127.0.0.1:6443"
contexts:
- name: "skiff"
  context:
    cluster: "skiff"
    user: "skiff-admin"
current-context: "skiff"
preferences: {}
users:
- name: "skiff-admin"
  user:
    client-certificate-data: Qw==
    client-key-data: Sw==
"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_restarts_gets_new_certificates() {
    use arc_swap::ArcSwap;
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Arc::new(Pki::open(&config(dir.path()), start()).expect("a new PKI"));
    let before = pki.serving();
    let tls = Arc::new(ArcSwap::from_pointee(pki.server_config().expect("a configuration")));
    let first = tls.load_full();
    let begin = tokio::time::Instant::now();
    let clock: crate::authentication::Clock =
        Arc::new(move || start() + SignedDuration::try_from(begin.elapsed()).expect("a duration"));
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(rotation::keep_current(pki.clone(), tls.clone(), clock.clone(), shutdown.clone()));
    while Arc::ptr_eq(&tls.load_full(), &first) {
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        assert!(clock() < facts(&before).not_after, "not renewed in time");
    }
    assert_ne!(pki.serving(), before);
    assert!(clock() > start() + days(243));
    shutdown.cancel();
    task.await.expect("the task ends");
}

mod handshakes {
    //! Real handshakes over a pipe.

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    fn client(trusted: &Pki, shown: Option<&Credential>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(trusted.ca().certificate_pem().as_bytes()).expect("a certificate");
        roots.add(ca).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(credential) => {
                let certificate = CertificateDer::from_pem_slice(credential.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![certificate.expect("a certificate")], key).expect("a credential")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// What the server sees: the client's certificates and the protocol; `None` when the handshake fails.
    async fn shake(server: &Pki, client: ClientConfig, name: &str) -> Option<(usize, Vec<u8>)> {
        let acceptor = TlsAcceptor::from(Arc::new(server.server_config().expect("a configuration")));
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(client));
        let (accepted, connected) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
        connected.ok()?;
        let accepted = accepted.ok()?;
        let (_, connection) = accepted.get_ref();
        let protocol = connection.alpn_protocol().unwrap_or_default().to_vec();
        Some((connection.peer_certificates().map_or(0, <[_]>::len), protocol))
    }

    #[tokio::test]
    async fn clients_may_show_any_certificate_that_is_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = Pki::open(&config(&dir.path().join("own")), Timestamp::now()).expect("a PKI");
        let foreign = Pki::open(&config(&dir.path().join("foreign")), Timestamp::now()).expect("a PKI");
        let admin = own.client(&Identity::Admin, Timestamp::now()).expect("a certificate");
        let stranger = foreign.client(&Identity::Admin, Timestamp::now()).expect("a certificate");
        for name in ["127.0.0.1", "10.96.0.1", "192.0.2.7", "localhost", "kubernetes.default.svc", "node-1"] {
            assert_eq!(shake(&own, client(&own, None), name).await, Some((0, b"h2".to_vec())), "{name}");
        }
        assert_eq!(shake(&own, client(&own, Some(&admin)), "localhost").await, Some((1, b"h2".to_vec())));
        // Whose it is, is decided per request; that it is theirs, here.
        assert_eq!(shake(&own, client(&own, Some(&stranger)), "localhost").await, Some((1, b"h2".to_vec())));
        // Clients, for their part, want our certificate and one of our names.
        assert_eq!(shake(&own, client(&foreign, None), "localhost").await, None);
        assert_eq!(shake(&own, client(&own, None), "example.org").await, None);
    }
}
