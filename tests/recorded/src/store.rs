//! The files of cases and answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::case::{self, Case};

/// The cases of one file, and where their answers are.
pub struct CaseFile {
    /// `AREA/FILE`.
    pub name: String,
    /// Its cases in order.
    pub cases: Vec<Case>,
    answers: PathBuf,
}

/// Answers by case.
pub type Answers = BTreeMap<String, Vec<Value>>;

/// All files whose name begins with one of `filters`; all if there is none.
pub fn files(filters: &[String]) -> anyhow::Result<Vec<CaseFile>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for area in sorted(&root.join("cases"))? {
        for file in sorted(&area)? {
            let text = std::fs::read_to_string(&file)?;
            let (area, file) = (stem(&area), stem(&file));
            let name = format!("{area}/{file}");
            let wanted = |filter: &String| name.starts_with(filter.as_str()) || filter.starts_with(&format!("{name}/"));
            if !filters.is_empty() && !filters.iter().any(wanted) {
                continue;
            }
            let mut cases = case::parse(&name, &text).with_context(|| format!("cases/{name}.yaml"))?;
            cases.retain(|case| {
                filters.is_empty() || filters.iter().any(|filter| case.name.starts_with(filter.as_str()))
            });
            let answers = root.join("answers").join(area).join(format!("{file}.json"));
            found.push(CaseFile { name, cases, answers });
        }
    }
    Ok(found)
}

impl CaseFile {
    /// The area.
    pub fn area(&self) -> &str {
        self.name.split_once('/').map_or("", |(area, _)| area)
    }

    /// What was recorded; empty if nothing was yet.
    pub fn answers(&self) -> anyhow::Result<Answers> {
        match std::fs::read(&self.answers) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| self.answers.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Answers::new()),
            Err(error) => Err(error).with_context(|| self.answers.display().to_string()),
        }
    }

    /// Replaces what was recorded: a line for each case.
    pub fn write(&self, answers: &Answers) -> anyhow::Result<()> {
        let line = |(name, answers): (&String, &Vec<Value>)| {
            format!("{}:{}", Value::from(name.as_str()), Value::from(answers.clone()))
        };
        let lines = answers.iter().map(line).collect::<Vec<_>>();
        std::fs::create_dir_all(self.answers.parent().context("no folder")?)?;
        std::fs::write(&self.answers, format!("{{\n{}\n}}\n", lines.join(",\n")))?;
        Ok(())
    }
}

/// Differences that are known, by case, each with its reason.
pub fn known() -> anyhow::Result<BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("known.yaml");
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(path)?)?)
}

fn sorted(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
