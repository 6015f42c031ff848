//! Bad input gets a clear answer, and the next good request is answered as ever.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_tests::cluster::text;
use skiff_tests::{Cluster, eventually, http1, kubectl, with_cluster, with_control_plane};

/// How long a command that cannot succeed may take to say so.
const SAYS_SO_WITHIN: Duration = Duration::from_secs(20);

/// How long a read may take while the disk is full.
const READS_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of the header of an SQLite file.
const SQLITE_HEADER: usize = 100;

/// The collection that is written to.
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn bad_requests_get_upstreams_answers_and_the_server_goes_on() {
    with_control_plane("requests", async |cluster| {
        let json = "application/json";
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        let odd = json!({"metadata": {"name": "odd"}, "datta": {}}).to_string().into_bytes();
        let twice = br#"{"metadata": {"name": "twice"}, "data": {"a": "1"}, "data": {"a": "2"}}"#.to_vec();
        let other =
            json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string().into_bytes();
        let name = json!({"metadata": {"name": "A_b"}}).to_string().into_bytes();
        let strict = format!("{MAPS}?fieldValidation=Strict");
        let cases: [(&str, &str, Vec<u8>, u16, &str, &str); 9] = [
            (MAPS, "application/yaml", b"a: [".to_vec(), 400, "BadRequest", ""),
            (MAPS, json, b"{".to_vec(), 400, "BadRequest", "unexpected end of JSON input"),
            (MAPS, json, deep, 400, "BadRequest", ""),
            (MAPS, json, vec![b' '; 4 << 20], 413, "RequestEntityTooLarge", "limit is 3145728"),
            (&strict, json, odd, 400, "BadRequest", "strict decoding error: unknown field \"datta\""),
            (&strict, json, twice, 400, "BadRequest", "strict decoding error: duplicate field \"data\""),
            (MAPS, json, other, 400, "BadRequest", "is registered for version"),
            (MAPS, json, name, 422, "Invalid", "a lowercase RFC 1123 subdomain must consist of"),
            (MAPS, "text/plain", b"a".to_vec(), 415, "UnsupportedMediaType", ""),
        ];
        for (path, kind, body, code, reason, message) in cases {
            let answer = post(cluster.client(), path, kind, body).await;
            let got = (answer["code"].as_u64(), answer["reason"].as_str());
            assert_eq!(got, (Some(u64::from(code)), Some(reason)), "{answer}");
            assert!(answer["message"].as_str().is_some_and(|text| text.contains(message)), "{answer}");
            good_request(cluster).await;
        }
    });
}

#[test]
fn a_selector_that_misses_its_template_is_invalid() {
    with_control_plane("selector", async |cluster| {
        let deployment = json!({
            "metadata": {"name": "odd"},
            "spec": {
                "selector": {"matchLabels": {"app": "one"}},
                "template": {
                    "metadata": {"labels": {"app": "two"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        });
        let path = "/apis/apps/v1/namespaces/default/deployments";
        let answer = post(cluster.client(), path, "application/json", deployment.to_string().into_bytes()).await;
        let message = "Deployment.apps \"odd\" is invalid: spec.template.metadata.labels: Invalid value: \
                       {\"app\":\"two\"}: `selector` does not match template `labels`";
        assert_eq!(answer["message"], message);
        good_request(cluster).await;
    });
}

#[test]
fn images_that_cannot_be_had_are_named_and_tried_again_later() {
    with_cluster("images", async |cluster| {
        let broken = cluster.folder.join("broken.tar");
        std::fs::write(&broken, b"this is no archive").expect("a file");
        let output = cluster.skiff("image load").arg(&broken).output().expect("skiff image load");
        assert!(!output.status.success() && text(&output).contains("broken.tar"), "{}", text(&output));

        let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "missing"},
            "spec": {"containers": [{"name": "c", "image": "127.0.0.1:1/nothing:v1"}]},
        }));
        pods.create(&PostParams::default(), &pod.expect("a pod")).await.expect("created");
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            eventually(reason, async || {
                let pod = pods.get("missing").await.map_err(|error| error.to_string())?;
                let status = serde_json::to_value(pod.status).map_err(|error| error.to_string())?;
                let waiting = &status["containerStatuses"][0]["state"]["waiting"];
                let named = waiting["message"].as_str().is_some_and(|text| text.contains("127.0.0.1:1/nothing:v1"));
                if waiting["reason"] == reason && named { Ok(()) } else { Err(status.to_string()) }
            })
            .await;
        }
        good_request(cluster).await;
    });
}

#[test]
fn an_image_whose_layer_is_not_what_its_manifest_says_is_not_run() {
    with_cluster("corrupt", async |cluster| {
        let promised = format!("sha256:{}", "0".repeat(64));
        let part = |kind: &str, size: usize| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": promised, "size": size});
        let layer = b"this is not what was promised";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": part("config.v1+json", layer.len()),
            "layers": [part("layer.v1.tar", layer.len())],
        });
        let registry = http1::serve(move |path| match path {
            "/v2/" => Some(("application/json", b"{}".to_vec())),
            "/v2/team/app/manifests/v1" => {
                Some(("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes()))
            }
            path if path.starts_with("/v2/team/app/blobs/") => Some(("application/octet-stream", layer.to_vec())),
            _ => None,
        });
        let image = format!("{}/team/app:v1", registry.await.expect("a registry"));
        let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "corrupt"},
            "spec": {"containers": [{"name": "c", "image": image}]},
        }));
        pods.create(&PostParams::default(), &pod.expect("a pod")).await.expect("created");
        eventually("ErrImagePull", async || {
            let pod = pods.get("corrupt").await.map_err(|error| error.to_string())?;
            let status = serde_json::to_value(pod.status).map_err(|error| error.to_string())?;
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            let named = |text: &str| text.contains(&image) && text.contains("digest");
            let told = waiting["message"].as_str().is_some_and(named);
            if waiting["reason"] == "ErrImagePull" && told { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        good_request(cluster).await;
    });
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    with_control_plane("second", async |cluster| {
        let output = ends(cluster.skiff("server").args(["--secure-port", "0", "--disable", "node,dns"]));
        let pid = cluster.pid().to_string();
        assert!(!output.status.success());
        assert!(text(&output).contains("is running already") && text(&output).contains(&pid), "{}", text(&output));
        good_request(cluster).await;
    });
}

#[test]
fn a_port_in_use_is_named() {
    with_control_plane("port", async |cluster| {
        let output = ends(cluster.skiff_named("other", "server").args(["--disable", "node,dns"]));
        assert!(!output.status.success());
        let said = text(&output);
        assert!(said.contains("0.0.0.0:6443") && said.contains("--secure-port"), "{said}");
        good_request(cluster).await;
    });
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    with_control_plane("damaged", async |cluster| {
        for number in 0..50 {
            create(cluster, &format!("map-{number}")).await;
        }
        cluster.kill();
        let database = cluster.data().join("store/store.db");
        // All of it into the database file itself, past which nothing can make up for the damage.
        sql(&database, "PRAGMA wal_checkpoint(TRUNCATE)");
        let mut bytes = std::fs::read(&database).expect("the database");
        let needle = b"map-25";
        let at = bytes.windows(needle.len()).position(|window| window == needle).expect("an object in the file");
        bytes[at..at + 64].fill(0xa5);
        std::fs::write(&database, &bytes).expect("damaged");
        let error = cluster.boot().await.expect_err("it is refused").to_string();
        assert!(error.contains("store.db") && error.contains("damaged"), "{error}");
        let after = std::fs::read(&database).expect("the database");
        // Behind the header, in which SQLite counts.
        let places = SQLITE_HEADER..bytes.len().max(after.len());
        let changed: Vec<_> = places.filter(|at| bytes.get(*at) != after.get(*at)).collect();
        assert!(changed.is_empty(), "{} bytes were changed, the first at {:?}", changed.len(), changed.first());
    });
}

#[test]
fn a_database_of_a_newer_format_is_refused() {
    with_control_plane("newer", async |cluster| {
        cluster.kill();
        let database = cluster.data().join("store/store.db");
        sql(&database, "UPDATE meta SET v = 99 WHERE k = 'format'");
        let error = cluster.boot().await.expect_err("it is refused").to_string();
        assert!(error.contains("format 99") && error.contains("newer"), "{error}");
    });
}

#[test]
fn a_read_only_data_folder_is_named() {
    with_control_plane("read-only", async |cluster| {
        cluster.kill();
        let data = cluster.folder.join("data");
        mount(&["--bind", &data.to_string_lossy(), &data.to_string_lossy()]);
        mount(&["-o", "remount,bind,ro", &data.to_string_lossy()]);
        let error = cluster.boot().await;
        let unmounted = Command::new("umount").arg(&data).status().expect("umount");
        assert!(unmounted.success());
        let error = error.expect_err("it cannot write").to_string();
        assert!(error.contains("Read-only file system") && error.contains(&*data.to_string_lossy()), "{error}");
        cluster.boot().await.expect("it starts once it can write");
        good_request(cluster).await;
    });
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    with_control_plane("full", async |cluster| {
        create(cluster, "before").await;
        cluster.kill();
        let store = cluster.data().join("store");
        let small = cluster.folder.join("small");
        std::fs::create_dir(&small).expect("a folder");
        mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs", &small.to_string_lossy()]);
        let moved = Command::new("cp").arg("-a").arg(format!("{}/.", store.display())).arg(&small).status();
        assert!(moved.expect("cp").success());
        mount(&["--bind", &small.to_string_lossy(), &store.to_string_lossy()]);
        let result = full_disk(cluster, &small).await;
        cluster.kill();
        for folder in [&store, &small] {
            assert!(Command::new("umount").arg(folder).status().expect("umount").success());
        }
        result.expect("a full disk");
    });
}

/// Fills the disk below the store, and makes room again.
async fn full_disk(cluster: &mut Cluster, disk: &Path) -> Result<(), String> {
    cluster.boot().await.map_err(|error| error.to_string())?;
    let filling = disk.join("filling");
    let _ = std::fs::write(&filling, vec![0; 16 << 20]);
    let large = cluster.folder.join("large");
    std::fs::write(&large, "x".repeat(500_000)).map_err(|error| error.to_string())?;
    // By kubectl, which gives up at once: kube-rs tries to write again for minutes while the server says that it cannot.
    let kubectl = kubectl::newest();
    let write = |cluster: &Cluster, name: &str| {
        let file = format!("--from-file={}", large.display());
        let output = kubectl.output(cluster, &["create", "configmap", name, &file, "--request-timeout=5s"]);
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    };
    let refused = (0..50).find_map(|number| write(cluster, &format!("full-{number}")).err());
    let refused = refused.ok_or("every write fitted")?;
    if !refused.contains("full") {
        return Err(format!("not said to be full: {refused}"));
    }
    // Reads are answered at once, all of them: kube-rs would try again behind our back, and take longer.
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    for number in 0..100 {
        let reads = async {
            maps.get("before").await?;
            maps.list(&ListParams::default()).await
        };
        match tokio::time::timeout(READS_WITHIN, reads).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("read {number}: {error}")),
            Err(_) => return Err(format!("read {number} was not answered within {READS_WITHIN:?}")),
        }
    }
    std::fs::remove_file(&filling).map_err(|error| error.to_string())?;
    eventually("writes go on once there is room", async || write(cluster, "after")).await;
    Ok(())
}

#[test]
fn doctor_names_the_capability_that_is_missing_and_no_other() {
    let program = skiff_tests::cluster::program();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"])
        .arg(program)
        .arg("doctor")
        .output()
        .expect("setpriv");
    assert!(!output.status.success(), "{}", text(&output));
    let said = text(&output).to_uppercase();
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    assert!(!said.contains("CAP_NET_ADMIN"), "{said}");
}

#[test]
fn doctor_names_the_kernel_feature_that_is_missing_and_no_other() {
    // A kernel without the pids controller, as a mount namespace of its own shows it: its hierarchy of version 1 is
    // gone, and the unified one does not list it.
    let hide = r#"
        set -e
        awk '$3 == "cgroup" && $4 ~ /(^|,)pids(,|$)/ { print $2 }' /proc/self/mounts | xargs -r umount --lazy
        awk '$3 == "cgroup2" { print $2 "/cgroup.controllers" }' /proc/self/mounts | while read -r file; do
            mount -t tmpfs none /mnt
            sed 's/\bpids\b//' "$file" > /mnt/controllers
            mount --bind /mnt/controllers "$file"
        done
        exec "$0" doctor
    "#;
    let program = skiff_tests::cluster::program();
    let mut unshare = Command::new("unshare");
    let output = unshare.args(["--mount", "--", "sh", "-c", hide]).arg(program).output().expect("unshare");
    assert!(!output.status.success(), "{}", text(&output));
    let said = text(&output);
    let missing: Vec<_> = said.lines().filter(|line| line.starts_with("MISSING")).collect();
    assert!(matches!(missing.as_slice(), [line] if line.contains("no controller for pids is mounted")), "{said}");
}

#[test]
fn kubectl_shows_what_the_server_says() {
    with_control_plane("kubectl", async |cluster| {
        let kubectl = kubectl::newest();
        let broken = cluster.folder.join("broken.yaml");
        std::fs::write(&broken, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n").expect("a file");
        let output = kubectl.output(cluster, &["apply", "-f", &broken.to_string_lossy()]);
        assert!(!output.status.success() && text(&output).contains("error parsing"), "{}", text(&output));
        good_request(cluster).await;
    });
}

/// Does something to a database that no server has open.
fn sql(database: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(database).expect("the database");
    connection.execute_batch(statement).expect(statement);
}

/// A command that must end by itself.
fn ends(command: &mut Command) -> Output {
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("skiff");
    let begun = Instant::now();
    while child.try_wait().expect("a status").is_none() {
        if begun.elapsed() > SAYS_SO_WITHIN {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().expect("mount");
    assert!(output.status.success(), "mount {arguments:?}: {}", text(&output));
}

async fn post(client: Client, path: &str, kind: &str, body: Vec<u8>) -> Value {
    let request = http::Request::post(path).header("content-type", kind).body(body).expect("a request");
    match client.request::<Value>(request).await {
        Ok(answer) => panic!("accepted: {answer}"),
        Err(kube::Error::Api(status)) => serde_json::to_value(status).expect("a status"),
        Err(error) => panic!("{error}"),
    }
}

fn map(name: &str, text: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"text": text}})).expect("a map")
}

async fn create(cluster: &Cluster, name: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    maps.create(&PostParams::default(), &map(name, "x")).await.expect("created");
}

async fn good_request(cluster: &Cluster) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    maps.list(&ListParams::default()).await.expect("the server goes on");
}
