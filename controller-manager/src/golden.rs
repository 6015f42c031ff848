//! Golden tests: a file holds objects, a line `---8<---`, and the plan that they lead to.
//!
//! `UPDATE_GOLDENS=1 cargo test` writes the plans anew; read the difference before committing it.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

const CUT: &str = "---8<---\n";

/// The objects of a golden file.
pub(crate) struct Objects(Vec<Value>);

impl Objects {
    /// The objects of a kind.
    pub(crate) fn all<K: DeserializeOwned>(&self, kind: &str) -> Vec<K> {
        let of_kind = self.0.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| serde_json::from_value(object.clone()).expect("an object of its kind")).collect()
    }

    /// The only object of a kind.
    pub(crate) fn one<K: DeserializeOwned>(&self, kind: &str) -> K {
        let mut all = self.all(kind);
        assert_eq!(all.len(), 1, "exactly one {kind} is expected");
        all.remove(0)
    }

    /// A document without a kind, for what is not an object: outcomes, configuration.
    pub(crate) fn extra(&self) -> Value {
        self.0.iter().find(|object| object.get("kind").is_none()).cloned().unwrap_or(Value::Null)
    }
}

/// The time of all golden tests.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("a time")
}

/// Runs `plan` on every golden file of a controller and compares.
pub(crate) fn check(controller: &str, plan: impl Fn(&Objects) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controllers").join(controller).join("goldens");
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a folder of goldens").flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no goldens in {folder:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable golden");
        let (input, expected) = text.split_once(CUT).unwrap_or((&text, ""));
        let documents = input.split("\n---\n").filter(|document| !document.trim().is_empty());
        let objects = documents.map(|document| {
            serde_saphyr::from_str::<Value>(document).unwrap_or_else(|error| panic!("{file:?}: {error}"))
        });
        let found = plan(&Objects(objects.filter(|object| !object.is_null()).collect()));
        let found = format!("{}\n", found.trim_end());
        if found == expected {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&file, format!("{input}{CUT}{found}")).expect("a writable golden");
        } else {
            wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
