//! Image archives made without any container tool.

#![allow(missing_docs, unreachable_pub, reason = "shared by test files only")]

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where Debian's busybox-static puts its program.
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 31] = [
    "sh", "ls", "cat", "echo", "sleep", "id", "env", "ps", "mkdir", "mknod", "mount", "unshare", "nc", "wget", "dd",
    "head", "kill", "hostname", "tty", "stty", "touch", "rm", "true", "false", "seq", "ping", "ip", "tr", "df", "wc",
    "sysctl",
];

/// Files of a layer: content, or `None` for a folder, and the mode.
pub type Files<'a> = &'a [(&'a str, Option<&'a [u8]>, u32)];

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A tar of files.
pub fn layer(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_entry_type(if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
        header.set_size(content.map_or(0, |c| c.len() as u64));
        builder.append_data(&mut header, path, content.unwrap_or_default()).expect("append");
    }
    builder.into_inner().expect("tar")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// The busybox file system: its program, links to it, and the files that every image has.
pub fn busybox_layer() -> Vec<u8> {
    let program = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    let mut builder = tar::Builder::new(layer(&[]));
    let mut all = layer(&[
        ("bin", None, 0o755),
        ("etc", None, 0o755),
        ("tmp", None, 0o1777),
        ("root", None, 0o700),
        ("bin/busybox", Some(&program), 0o755),
        ("etc/passwd", Some(b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"), 0o644),
        ("etc/group", Some(b"root:x:0:\napp:x:1000:\nextra:x:1001:app\n"), 0o644),
    ]);
    // Cut the end marker off, so that links can follow.
    all.truncate(all.len() - 1024);
    *builder.get_mut() = all;
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        builder.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("link");
    }
    builder.into_inner().expect("tar")
}

/// The blobs and the index entry of one image.
pub struct Image {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifest: String,
    pub config: Value,
}

/// An image of compressed layers.
pub fn image(layers: &[Vec<u8>], settings: Value) -> Image {
    let mut blobs = BTreeMap::new();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": settings,
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>() },
    });
    let mut add = |bytes: Vec<u8>| {
        let name = digest(&bytes);
        let size = bytes.len();
        blobs.insert(name.clone(), bytes);
        (name, size)
    };
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|layer| {
            let (digest, size) = add(gzip(layer));
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size })
        })
        .collect();
    let (config_digest, config_size) = add(config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config_size,
        },
        "layers": descriptors,
    });
    let (manifest, _) = add(manifest.to_string().into_bytes());
    Image { blobs, manifest, config }
}

/// An OCI archive of one image.
pub fn oci_archive(image: &Image, name: Option<&str>) -> Vec<u8> {
    let annotations = name.map_or(json!({}), |name| json!({ "io.containerd.image.name": name }));
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest,
            "size": image.blobs[&image.manifest].len(),
            "annotations": annotations,
        }],
    });
    let (layout, index) = (r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned(), index.to_string());
    let blobs = image.blobs.iter().map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes));
    let blobs: Vec<(String, &Vec<u8>)> = blobs.collect();
    let mut files: Vec<(&str, Option<&[u8]>, u32)> =
        vec![("oci-layout", Some(layout.as_bytes()), 0o644), ("index.json", Some(index.as_bytes()), 0o644)];
    files.extend(blobs.iter().map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()), 0o644)));
    layer(&files)
}

/// What `docker save` writes for one image.
pub fn docker_archive(layers: &[Vec<u8>], settings: Value, name: &str) -> Vec<u8> {
    let config = image(layers, settings).config.to_string();
    let paths: Vec<String> = (0..layers.len()).map(|index| format!("layer{index}/layer.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": paths }]).to_string();
    let mut files: Vec<(&str, Option<&[u8]>, u32)> =
        vec![("config.json", Some(config.as_bytes()), 0o644), ("manifest.json", Some(manifest.as_bytes()), 0o644)];
    files.extend(paths.iter().zip(layers).map(|(path, layer)| (path.as_str(), Some(layer.as_slice()), 0o644)));
    layer(&files)
}

/// The busybox image as an OCI archive.
pub fn busybox_archive(name: &str) -> Vec<u8> {
    let settings = json!({ "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sleep", "1000"] });
    oci_archive(&image(&[busybox_layer()], settings), Some(name))
}
