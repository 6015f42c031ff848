//! `cargo xtask images`: the images of samples and tests as OCI archives, made without any container tool.
//!
//! The archives hold what `docker load`, containerd and `skiff image load` take: a layout with one image, whose name is
//! in the index's annotations. The same sources give the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Debian's package with every usual command in one static program.
const BUSYBOX: &str = "/bin/busybox";

/// A file of an image.
enum Entry {
    Folder(u32),
    File(u32, Vec<u8>),
    Link(String),
}

/// An image to be.
struct Image {
    name: &'static str,
    file: &'static str,
    entries: Vec<(String, Entry)>,
    config: Value,
}

/// Builds all images into a folder.
pub(crate) fn run(root: &Path, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let echo = build_echo(root)?;
    let images = [
        echo_image("skiff.local/echo:v1", "echo-v1.tar", "v1", &echo),
        echo_image("skiff.local/echo:v2", "echo-v2.tar", "v2", &echo),
        tools_image()?,
    ];
    for image in images {
        let path = out.join(image.file);
        let bytes = archive(&image)?;
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            continue;
        }
        let temporary = path.with_extension("tmp");
        let mut file = BufWriter::new(File::create(&temporary)?);
        file.write_all(&bytes)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(&temporary, &path).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{}  {} KB  {}", image.name, bytes.len() / 1000, path.display());
    }
    Ok(())
}

/// The static program. It has a target folder of its own, as a target that is named has: its flags must not reach
/// other packages.
fn build_echo(root: &Path) -> anyhow::Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["rustc", "--quiet", "--locked", "--release", "--package", "echo", "--target", &triple, "--"])
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "echo does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let path = target.join(triple).join("release/echo");
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn echo_image(name: &'static str, file: &'static str, version: &str, program: &[u8]) -> Image {
    Image {
        name,
        file,
        entries: vec![
            ("etc".to_owned(), Entry::Folder(0o755)),
            (
                "etc/passwd".to_owned(),
                Entry::File(0o644, b"root:x:0:0:root:/:/echo\necho:x:65532:65532:echo:/:/echo\n".to_vec()),
            ),
            ("etc/group".to_owned(), Entry::File(0o644, b"root:x:0:\necho:x:65532:\n".to_vec())),
            ("tmp".to_owned(), Entry::Folder(0o1777)),
            ("echo".to_owned(), Entry::File(0o755, program.to_vec())),
        ],
        config: json!({
            "User": "65532:65532",
            "Env": ["PATH=/", format!("ECHO_VERSION={version}")],
            "Entrypoint": ["/echo"],
            "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
        }),
    }
}

fn tools_image() -> anyhow::Result<Image> {
    let busybox = std::fs::read(BUSYBOX)
        .with_context(|| format!("cannot read {BUSYBOX}; install it (`apt-get install busybox-static`)"))?;
    let listed = Command::new(BUSYBOX).arg("--list").output().context("cannot run busybox")?;
    let applets = String::from_utf8(listed.stdout).context("busybox lists its commands strangely")?;
    if !applets.lines().any(|applet| applet == "nslookup") {
        bail!("{BUSYBOX} has no nslookup; install busybox-static");
    }
    let mut entries = vec![
        ("bin".to_owned(), Entry::Folder(0o755)),
        ("bin/busybox".to_owned(), Entry::File(0o755, busybox)),
        ("etc".to_owned(), Entry::Folder(0o755)),
        (
            "etc/passwd".to_owned(),
            Entry::File(0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n".to_vec()),
        ),
        ("etc/group".to_owned(), Entry::File(0o644, b"root:x:0:\nnogroup:x:65534:\n".to_vec())),
        ("root".to_owned(), Entry::Folder(0o700)),
        ("tmp".to_owned(), Entry::Folder(0o1777)),
        ("usr".to_owned(), Entry::Folder(0o755)),
        ("usr/bin".to_owned(), Entry::Link("../bin".to_owned())),
    ];
    let names = applets.lines().filter(|applet| !applet.is_empty() && *applet != "busybox");
    entries.extend(names.map(|applet| (format!("bin/{applet}"), Entry::Link("busybox".to_owned()))));
    Ok(Image {
        name: "skiff.local/tools:v1",
        file: "tools-v1.tar",
        entries,
        config: json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"}),
    })
}

/// The whole archive.
fn archive(image: &Image) -> anyhow::Result<Vec<u8>> {
    let layer = layer(&image.entries)?;
    let mut zipped = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    zipped.write_all(&layer)?;
    let zipped = zipped.finish()?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::to_vec(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    }))?;
    let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar+gzip", &zipped)],
    }))?;
    let mut entry = descriptor("manifest.v1+json", &manifest);
    let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] = json!({"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": tag});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "oci-layout", &Entry::File(0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()))?;
    append(&mut archive, "index.json", &Entry::File(0o644, index))?;
    for bytes in [manifest, config, zipped] {
        let name = digest(&bytes).replace(':', "/");
        append(&mut archive, &format!("blobs/{name}"), &Entry::File(0o644, bytes))?;
    }
    Ok(archive.into_inner()?)
}

fn layer(entries: &[(String, Entry)]) -> anyhow::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, entry) in entries {
        append(&mut layer, path, entry)?;
    }
    Ok(layer.into_inner()?)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry) -> anyhow::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match entry {
        Entry::Folder(mode) => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            archive.append_data(&mut header, path, std::io::empty())?;
        }
        Entry::File(mode, bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Entry::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_sources_give_the_same_bytes() {
        let image = || echo_image("skiff.local/echo:v1", "echo-v1.tar", "v1", b"program");
        let first = archive(&image()).expect("built");
        assert_eq!(first, archive(&image()).expect("built"));
        let other = archive(&echo_image("skiff.local/echo:v2", "echo-v2.tar", "v2", b"program")).expect("built");
        assert_ne!(first, other);
    }

    #[test]
    fn the_index_leads_to_the_layer() {
        let bytes = archive(&echo_image("skiff.local/echo:v1", "echo-v1.tar", "v1", b"program")).expect("built");
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
            files.insert(entry.path().expect("a path").to_string_lossy().into_owned(), content);
        }
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        let blob = |descriptor: &Value| {
            let digest_ = descriptor["digest"].as_str().expect("a digest");
            let content = &files[&format!("blobs/{}", digest_.replace(':', "/"))];
            assert_eq!(digest(content), digest_);
            assert_eq!(descriptor["size"], content.len());
            content.clone()
        };
        let index = json(&files["index.json"]);
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "skiff.local/echo:v1");
        let manifest = json(&blob(&index["manifests"][0]));
        let config = json(&blob(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"][0], "/echo");
        let mut layer = Vec::new();
        let zipped = blob(&manifest["layers"][0]);
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(zipped.as_slice()), &mut layer).expect("gzip");
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
    }
}
