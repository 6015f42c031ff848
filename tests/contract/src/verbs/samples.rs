//! An object of each kind: ours, as valid as it must be to be taken.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

/// A sample as `samples/*.yaml` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The name, where any will not do.
    pub name: Option<String>,
    /// The object without its metadata.
    pub object: Value,
    /// A change of its status.
    #[serde(default)]
    pub status: Value,
    /// Whether who applies a status owns it; not where upstream resets what the sample changes.
    #[serde(default = "yes")]
    pub owns_status: bool,
}

fn yes() -> bool {
    true
}

/// Samples by `apiVersion/kind`.
pub struct Samples(BTreeMap<String, Sample>);

impl Samples {
    /// Reads them all.
    pub fn read() -> anyhow::Result<Self> {
        let mut samples = BTreeMap::new();
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples"))? {
            let path = file?.path();
            let text = std::fs::read_to_string(&path)?;
            let read = serde_saphyr::from_str::<BTreeMap<String, Sample>>(&text);
            samples.extend(read.with_context(|| path.display().to_string())?);
        }
        Ok(Self(samples))
    }

    /// Further samples, with more to show in tables than the first of their kind: `apiVersion/kind` and sample.
    pub fn more() -> anyhow::Result<Vec<(String, Sample)>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rows.yaml");
        let read = serde_saphyr::from_str::<Vec<BTreeMap<String, Sample>>>(&std::fs::read_to_string(path)?)?;
        Ok(read.into_iter().flatten().collect())
    }

    /// The sample of a kind.
    pub fn of(&self, api_version: &str, kind: &str) -> anyhow::Result<&Sample> {
        self.0.get(&format!("{api_version}/{kind}")).with_context(|| format!("no sample of {api_version} {kind}"))
    }
}

impl Sample {
    /// The object with this number in a namespace, ready to be sent.
    pub fn object(&self, api_version: &str, kind: &str, namespace: &str, number: usize) -> Value {
        let text = numbered(&self.object.to_string().replace("<ns>", namespace), number);
        let mut object = serde_json::from_str::<Value>(&text).unwrap_or_default();
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"] = json!({"name": self.name(number)});
        object
    }

    /// The name of the object with this number.
    pub fn name(&self, number: usize) -> String {
        numbered(self.name.as_deref().unwrap_or("sample-<n>"), number)
    }
}

/// Puts the number in: as it is, or as two that fit into the parts of an address.
fn numbered(text: &str, number: usize) -> String {
    let text = text.replace("<n>", &number.to_string());
    text.replace("<n/100>", &(number / 100).to_string()).replace("<n%100>", &(number % 100 + 1).to_string())
}
