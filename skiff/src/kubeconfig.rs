//! The user's kubeconfig: our context goes in and out, everything else stays.
//!
//! Which file is changed, and how it is locked, follows `k8s.io/client-go/tools/clientcmd` (`GetDefaultFilename`,
//! `ModifyConfig`), so that kubectl and Skiff do not overwrite each other's changes.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::layout::write_private;

/// How long another program's lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Lists of a kubeconfig whose entries have names.
const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// The file that changes go to: the first of `$KUBECONFIG` that exists, else its last, else `~/.kube/config`.
pub fn default_path() -> anyhow::Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        let files: Vec<PathBuf> = std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
        if let Some(path) = files.iter().find(|path| path.exists()).or(files.last()) {
            return Ok(path.clone());
        }
    }
    let home = std::env::home_dir().context("there is no home folder; set KUBECONFIG")?;
    Ok(home.join(".kube/config"))
}

/// Puts the entries of `added` (a kubeconfig) into the file, in place of those of the same names, and makes its
/// context the current one.
pub fn merge(path: &Path, added: &str) -> anyhow::Result<()> {
    let added: Value = serde_saphyr::from_str(added).context("our own kubeconfig cannot be read")?;
    change(path, |config| {
        for list in LISTS {
            for entry in added[list].as_array().into_iter().flatten() {
                let entries = entries(config, list)?;
                match entries.iter_mut().find(|known| known["name"] == entry["name"]) {
                    Some(known) => *known = entry.clone(),
                    None => entries.push(entry.clone()),
                }
            }
        }
        config.insert("current-context".to_owned(), added["current-context"].clone());
        Ok(())
    })
}

/// Takes a cluster's entries out of the file. Says whether there were any.
pub fn remove(path: &Path, name: &str) -> anyhow::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let user = format!("{name}-admin");
    let mut found = false;
    change(path, |config| {
        for (list, name) in LISTS.into_iter().zip([name, name, &user]) {
            let entries = entries(config, list)?;
            let before = entries.len();
            entries.retain(|entry| entry["name"] != name);
            found |= entries.len() != before;
        }
        if config.get("current-context").is_some_and(|current| current == name) {
            config.insert("current-context".to_owned(), json!(""));
        }
        Ok(())
    })?;
    Ok(found)
}

fn entries<'a>(config: &'a mut Map<String, Value>, list: &str) -> anyhow::Result<&'a mut Vec<Value>> {
    let entry = config.entry(list).or_insert_with(|| json!([]));
    if entry.is_null() {
        *entry = json!([]);
    }
    entry.as_array_mut().with_context(|| format!("{list} is not a list"))
}

fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let failed = || format!("cannot change the kubeconfig {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    // A link stays a link: its target is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let _lock = Lock::take(path)?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(failed),
    };
    let mut config = match serde_saphyr::from_str::<Option<Value>>(&text).with_context(failed)? {
        None => Map::new(),
        Some(Value::Object(config)) => config,
        Some(_) => bail!("{}: it is not a kubeconfig", failed()),
    };
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        config.entry(key).or_insert_with(|| json!(value));
    }
    edit(&mut config).with_context(failed)?;
    let text = serde_saphyr::to_string(&config).with_context(failed)?;
    write_private(path, text.as_bytes())
}

/// client-go's lock: a file beside the kubeconfig that only one can create.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> anyhow::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match File::options().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                    "another program is changing the kubeconfig; if none is, remove {} and try again",
                    lock.display()
                ),
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", lock.display())),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(server: &str) -> String {
        format!(
            "clusters:\n- name: blue\n  cluster: {{server: \"{server}\"}}\ncontexts:\n- name: blue\n  context: \
             {{cluster: blue, user: blue-admin}}\nusers:\n- name: blue-admin\n  user: {{token: \"0123\"}}\n\
             current-context: blue\n"
        )
    }

    fn read(path: &Path) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(path).expect("readable")).expect("YAML")
    }

    #[test]
    fn other_entries_and_unknown_fields_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/config");
        merge(&path, &ours("https://one")).expect("a new file");
        assert_eq!(read(&path)["kind"], "Config");
        let other = "apiVersion: v1\nkind: Config\nextensions: [{name: x}]\nclusters:\n- name: other\n  cluster: \
                     {server: \"https://o\", odd: \"007\"}\n- name: blue\n  cluster: {}\nusers: null\n\
                     current-context: other\n";
        std::fs::write(&path, other).expect("written");
        merge(&path, &ours("https://two")).expect("merged");
        let config = read(&path);
        assert_eq!(config["extensions"][0]["name"], "x");
        assert_eq!(config["clusters"][0]["cluster"]["odd"], "007");
        assert_eq!(config["clusters"][1]["cluster"]["server"], "https://two");
        assert_eq!(config["users"][0]["user"]["token"], "0123");
        assert_eq!(config["current-context"], "blue");
        assert!(remove(&path, "blue").expect("removed"));
        let config = read(&path);
        assert_eq!(config["clusters"].as_array().map(Vec::len), Some(1));
        assert_eq!(config["current-context"], "");
        assert!(!remove(&path, "blue").expect("nothing to remove"));
        assert!(!folder.path().join("deep/config.lock").exists());
    }

    #[test]
    fn what_is_not_a_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        for text in ["just text", "clusters: 5", "a: [unclosed"] {
            std::fs::write(&path, text).expect("written");
            let error = merge(&path, &ours("https://one")).expect_err(text);
            assert!(format!("{error:#}").contains("cannot change the kubeconfig"), "{error:#}");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
        }
    }
}
