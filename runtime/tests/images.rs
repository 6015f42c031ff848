//! Images: importing, pulling from a registry, listing, removing, and what damaged ones lead to.

mod common;

use common::registry::Registry;
use common::{Node, image, shell};
use serde_json::json;
use skiff_cri::v1;
use tonic::Code;

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: name.into(), ..Default::default() })
}

async fn status(node: &mut Node, name: &str) -> Option<v1::Image> {
    let request = v1::ImageStatusRequest { image: spec(name), verbose: false };
    node.client.images.image_status(request).await.expect("status").into_inner().image
}

async fn list(node: &mut Node) -> Vec<v1::Image> {
    node.client.images.list_images(v1::ListImagesRequest::default()).await.expect("list").into_inner().images
}

async fn remove(node: &mut Node, name: &str) {
    let request = v1::RemoveImageRequest { image: spec(name) };
    node.client.images.remove_image(request).await.expect("remove");
}

async fn pull(node: &mut Node, name: &str, auth: Option<v1::AuthConfig>) -> Result<String, tonic::Status> {
    let request = v1::PullImageRequest { image: spec(name), auth, sandbox_config: None };
    Ok(node.client.images.pull_image(request).await?.into_inner().image_ref)
}

/// Folders of layers on disk.
fn layers(node: &Node) -> usize {
    std::fs::read_dir(node.path("root/layers")).expect("layers").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_every_kind() {
    let mut node = Node::start_empty("import").await;
    let base = image::busybox_layer();
    let top = image::layer(&[("etc/extra", Some(b"extra\n"), 0o644), ("tmp/.wh.gone", Some(b""), 0o644)]);
    let settings =
        json!({ "User": "app", "Env": ["PATH=/bin"], "Entrypoint": ["sh", "-c"], "Cmd": ["cat /etc/extra"] });
    let layered = image::image(&[base.clone(), top.clone()], settings.clone());

    let imported = node.import(&image::oci_archive(&layered, Some("echo:v1")), "").await.expect("OCI");
    assert_eq!(imported[0].names, ["docker.io/library/echo:v1"]);
    let shown = status(&mut node, "echo:v1").await.expect("known by its short name");
    assert_eq!(shown.repo_tags, ["docker.io/library/echo:v1"]);
    assert_eq!(shown.repo_digests, [format!("docker.io/library/echo@{}", layered.manifest)]);
    assert_eq!((shown.username.as_str(), shown.uid), ("app", None));
    assert!(shown.pinned, "nothing can bring it back");
    assert!(status(&mut node, &shown.id).await.is_some() && status(&mut node, "echo:v2").await.is_none());

    // The same layers from docker save: another name for the same image, nothing new on disk.
    let count = layers(&node);
    let saved = image::docker_archive(&[base.clone(), top], settings, "test.local/saved:v1");
    let imported = node.import(&saved, "").await.expect("docker save");
    assert_eq!((imported[0].id.as_str(), layers(&node)), (shown.id.as_str(), count));
    assert_eq!(status(&mut node, "echo:v1").await.expect("same").repo_tags.len(), 2);
    node.import(&image::gzip(&saved), "").await.expect("compressed as a whole");

    let nameless = image::oci_archive(&image::image(&[base], json!({ "Cmd": ["true"] })), None);
    let imported = node.import(&nameless, "test.local/given:v1").await.expect("a name from the caller");
    assert_eq!(imported[0].names, ["test.local/given:v1"]);
    assert_eq!(list(&mut node).await.len(), 2);

    let pod = node.pod("web").await;
    let mut config = shell("app", "");
    config.image = spec("echo:v1");
    config.command.clear();
    let id = node.container(&pod, config).await;
    node.ended(&id).await;
    assert_eq!(node.log_lines(&id).await, ["stdout F extra"]);
    let status = node.status(&id).await;
    assert_eq!(status.image_ref, shown.id);
    assert_eq!(status.user.and_then(|u| u.linux).map(|u| u.uid), Some(1000));

    // A name can move; the image that had it keeps its id.
    node.import(&nameless, "").await.expect("no name at all is fine");
    let moved = image::oci_archive(&image::image(&[image::busybox_layer()], json!({ "Cmd": ["sh"] })), Some("echo:v1"));
    node.import(&moved, "").await.expect("import");
    assert_ne!(self::status(&mut node, "echo:v1").await.expect("moved").id, shown.id);
    assert_eq!(self::status(&mut node, &shown.id).await.expect("kept").repo_tags, ["test.local/saved:v1"]);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_archives_say_what_is_wrong() {
    let mut node = Node::start_empty("damage").await;
    let layer = image::busybox_layer();
    let good = image::image(std::slice::from_ref(&layer), json!({}));
    let archive = image::oci_archive(&good, Some("a:v1"));
    let mut flipped = image::image(std::slice::from_ref(&layer), json!({}));
    let biggest = flipped.blobs.values_mut().max_by_key(|blob| blob.len()).expect("a blob");
    let middle = biggest.len() / 2;
    biggest[middle] ^= 0xff;
    let mut lacking = image::image(std::slice::from_ref(&layer), json!({}));
    let biggest =
        lacking.blobs.iter().max_by_key(|(_, blob)| blob.len()).map(|(name, _)| name.clone()).expect("a blob");
    lacking.blobs.remove(&biggest);
    let mut altered = image::image(std::slice::from_ref(&layer), json!({}));
    let manifest = altered.manifest.clone();
    altered.blobs.get_mut(&manifest).expect("the manifest").push(b' ');
    let escaping = {
        let mut evil = image::layer(&[("xx/evil", Some(b"x"), 0o644)]);
        evil[..2].copy_from_slice(b"..");
        let sum: u32 =
            evil[..512].iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
        evil[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        image::oci_archive(&image::image(&[evil], json!({})), Some("evil:v1"))
    };
    for (what, archive, expected) in [
        ("empty", Vec::new(), "the archive is empty"),
        ("text", b"this is no archive".repeat(100), "the archive is damaged"),
        ("cut off", archive[..archive.len() / 2].to_vec(), "cut off"),
        ("no image", image::layer(&[("readme", Some(b"hi"), 0o644)]), "neither an OCI archive"),
        ("bad JSON", image::layer(&[("index.json", Some(b"{"), 0o644)]), "index.json cannot be read"),
        ("flipped bits", image::oci_archive(&flipped, Some("b:v1")), "damaged"),
        ("missing layer", image::oci_archive(&lacking, Some("c:v1")), "the archive lacks blobs/sha256/"),
        ("altered manifest", image::oci_archive(&altered, Some("d:v1")), "is damaged: expected sha256:"),
        ("bad name", image::oci_archive(&good, Some("Not:a:name")), "invalid image reference"),
        ("escaping path", escaping, "leaves the root"),
        ("cut gzip", image::gzip(&archive)[..5_000].to_vec(), "damaged"),
    ] {
        let error = node.import(&archive, "").await.expect_err(what);
        assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
        assert!(error.message().contains(expected), "{what}: {}", error.message());
    }
    assert!(list(&mut node).await.is_empty());
    let scratch = std::fs::read_dir(node.path("root/ingest")).expect("ingest").count();
    assert_eq!(scratch, 0, "nothing is left of failed imports");
    // The server goes on.
    node.import(&archive, "").await.expect("a good archive");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_live_as_long_as_they_are_used() {
    let mut node = Node::start("gc").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;
    let other = image::oci_archive(
        &image::image(&[image::busybox_layer(), image::layer(&[("x", Some(b"x"), 0o644)])], json!({})),
        Some("other:v1"),
    );
    node.import(&other, "").await.expect("import");
    assert_eq!(layers(&node), 2, "the base is shared");
    remove(&mut node, "other:v1").await;
    assert_eq!(layers(&node), 1);
    remove(&mut node, "test.local/busybox:v1").await;
    remove(&mut node, "test.local/busybox:v1").await;
    assert!(list(&mut node).await.is_empty());
    assert_eq!((layers(&node), node.shell(&id, "echo still").await.0), (1, "still\n".into()));
    // Held by a container across a restart as well.
    node.kill();
    node.run().await;
    assert_eq!(layers(&node), 1);
    node.remove_pod(&pod).await;
    let usage = node.client.images.image_fs_info(v1::ImageFsInfoRequest {}).await.expect("usage").into_inner();
    assert!(usage.image_filesystems[0].used_bytes.is_some());
    node.kill();
    node.run().await;
    assert_eq!(layers(&node), 0, "collected at the start");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_survive_a_restart() {
    let mut node = Node::start("restart").await;
    let before = list(&mut node).await;
    node.kill();
    node.run().await;
    assert_eq!(list(&mut node).await, before);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_from_a_registry() {
    let mut node = Node::start_empty("pull").await;
    let mut registry = Registry::start(&node.netns());
    let layers: Vec<Vec<u8>> = [image::busybox_layer()]
        .into_iter()
        .chain((0..6).map(|n: u32| image::layer(&[("order", Some(format!("{n}\n").as_bytes()), 0o644)])))
        .collect();
    let good = image::image(&layers, json!({ "Env": ["PATH=/bin"], "Cmd": ["cat", "/order"] }));
    registry.add("team/app", "v1", &good);
    let name = format!("{}/team/app:v1", registry.address());

    let id = pull(&mut node, &name, None).await.expect("pull");
    let shown = status(&mut node, &name).await.expect("pulled");
    assert_eq!(shown.id, id);
    assert!(!shown.pinned, "it can be pulled again");
    let by_digest = format!("{}/team/app@{}", registry.address(), good.manifest);
    assert_eq!(shown.repo_digests, std::slice::from_ref(&by_digest));
    let served = registry.blobs_served();
    assert_eq!(pull(&mut node, &by_digest, None).await.expect("by digest"), id);
    // Only the configuration is asked for again.
    assert_eq!(registry.blobs_served(), served + 1);
    let pod = node.pod("web").await;
    let mut config = shell("app", "");
    (config.image, config.command) = (spec(&name), Vec::new());
    let container = node.container(&pod, config).await;
    node.ended(&container).await;
    assert_eq!(node.log_lines(&container).await, ["stdout F 5"], "layers in the order of the manifest");

    let missing = format!("{}/team/app:none", registry.address());
    let error = pull(&mut node, &missing, None).await.expect_err("no such tag");
    assert_eq!(error.code(), Code::NotFound, "{error}");
    let error = pull(&mut node, "127.0.0.1:1/x:v1", None).await.expect_err("nobody there");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("refused"), "{}", error.message());
    let error = pull(&mut node, "skiff.local/echo:v9", None).await.expect_err("a name for loaded images");
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert!(error.message().contains("skiff image load"), "{error}");
    let error = pull(&mut node, "Bad//Name", None).await.expect_err("no name");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    let unknown = image::layer(&[("unknown", Some(&[7; 100_000]), 0o644)]);
    let mut lying = image::image(&[unknown], json!({ "Cmd": ["lie"] }));
    let biggest = lying.blobs.values_mut().max_by_key(|blob| blob.len()).expect("a blob");
    biggest[50] ^= 1;
    registry.add("team/lying", "v1", &lying);
    let name = format!("{}/team/lying:v1", registry.address());
    let error = pull(&mut node, &name, None).await.expect_err("a damaged blob");
    assert!(error.code() == Code::InvalidArgument && error.message().contains("damaged"), "{error}");

    registry.require("user", "secret");
    registry.add("private/app", "v1", &good);
    let name = format!("{}/private/app:v1", registry.address());
    let auth = |password: &str| {
        Some(v1::AuthConfig { username: "user".into(), password: password.into(), ..Default::default() })
    };
    for wrong in [None, auth("wrong")] {
        let error = pull(&mut node, &name, wrong).await.expect_err("refused");
        assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    }
    pull(&mut node, &name, auth("secret")).await.expect("with credentials");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_volumes() {
    let mut node = Node::start("volumes").await;
    let data = image::image(
        &[
            image::layer(&[
                ("models", None, 0o755),
                ("models/old", Some(b"old"), 0o644),
                ("models/small", Some(b"small\n"), 0o644),
                ("run", Some(b"#!/bin/sh\necho ran\n"), 0o755),
            ]),
            image::layer(&[("models/.wh.old", Some(b""), 0o644)]),
        ],
        json!({}),
    );
    node.import(&image::oci_archive(&data, Some("test.local/data:v1")), "").await.expect("import");
    let image_id = status(&mut node, "test.local/data:v1").await.expect("imported").id;
    let volume = |path: &str, sub_path: &str| v1::Mount {
        container_path: path.into(),
        readonly: true,
        image: spec("test.local/data:v1"),
        image_sub_path: sub_path.into(),
        ..Default::default()
    };
    let pod = node.pod("web").await;
    let mut config = shell("app", "sleep 1000");
    config.mounts = vec![
        volume("/data", ""),
        v1::Mount { mount_options: vec!["noexec".into()], ..volume("/plain", "") },
        // Up is no way out of an image.
        volume("/some", "../models"),
        volume("/one", "models/small"),
    ];
    let id = node.container(&pod, config).await;
    let script = "ls /data/models /some; cat /one; /data/run; /plain/run 2>/dev/null || echo no; \
                  touch /data/x 2>/dev/null || echo read-only";
    assert_eq!(node.shell(&id, script).await.0, "/data/models:\nsmall\n\n/some:\nsmall\nsmall\nran\nno\nread-only\n");
    let shown = node.status(&id).await.mounts;
    let shown = shown.iter().map(|mount| mount.image.as_ref().map(|image| image.image_ref.clone()));
    assert_eq!(shown.collect::<Vec<_>>(), vec![Some(image_id); 4]);

    // The layers stay while they are mounted, whatever becomes of the image and the runtime.
    remove(&mut node, "test.local/data:v1").await;
    node.kill();
    node.run().await;
    assert_eq!(node.shell(&id, "cat /data/models/small").await.0, "small\n");

    let wrong = [
        (volume("/data", ""), Code::NotFound, "not found"),
        (v1::Mount { image: spec("test.local/busybox:v1"), ..volume("/data", "no/such") }, Code::NotFound, "no/such"),
        (v1::Mount { readonly: false, ..volume("/data", "") }, Code::InvalidArgument, "read-only"),
        (
            v1::Mount {
                image: spec("test.local/busybox:v1"),
                mount_options: vec!["loud".into()],
                ..volume("/data", "")
            },
            Code::InvalidArgument,
            "loud",
        ),
    ];
    for (mount, code, text) in wrong {
        let mut config = shell("wrong", "true");
        config.mounts = vec![mount];
        let error = node.create(&pod, config).await.expect_err(text);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
    node.remove_pod(&pod).await;
    node.finish().await;
}
