//! Whether every kind that can be created is asked about often enough.

use std::collections::BTreeMap;
use std::path::Path;

use skiff_recorded::store;

/// Objects of each kind that are sent and whose answers are compared, at the least.
const WANTED: usize = 8;
/// All of them together, at the least.
const WANTED_TOGETHER: usize = 600;

/// Resources that can be created, from the facts about upstream's discovery: `group/version/resource` without a slash
/// for the first group.
fn creatable() -> Vec<String> {
    let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contract/facts/discovery.txt");
    let text = std::fs::read_to_string(facts).expect("the facts");
    let (mut group_version, mut found) = (None, Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("aggregated ") {
            group_version = Some(rest.trim_start_matches('/').to_owned());
        } else if !line.starts_with(' ') {
            group_version = None;
        }
        let (Some(group_version), Some((name, what))) = (&group_version, line.trim_start().split_once('\t')) else {
            continue;
        };
        let verbs = what.split(' ').find_map(|word| word.strip_prefix("verbs=")).unwrap_or_default();
        if line.starts_with(' ') && !name.contains('/') && verbs.split(',').any(|verb| verb == "create") {
            found.push(format!("{group_version}/{name}"));
        }
    }
    found
}

/// The resource that a path is about.
fn resource(path: &str) -> Option<String> {
    let mut parts = path.trim_start_matches('/').split('/');
    let group_version = match parts.next()? {
        "api" => parts.next()?.to_owned(),
        "apis" => format!("{}/{}", parts.next()?, parts.next()?),
        _ => return None,
    };
    let rest = parts.collect::<Vec<_>>();
    let name = match rest.as_slice() {
        ["namespaces", _, name, ..] if !matches!(*name, "status" | "finalize") => name,
        [name, ..] => name,
        [] => return None,
    };
    Some(format!("{group_version}/{name}"))
}

#[test]
fn every_kind_has_enough_cases() {
    let mut counts: BTreeMap<String, usize> = creatable().into_iter().map(|resource| (resource, 0)).collect();
    assert!(counts.len() > 60, "the facts say {}", counts.len());
    for file in store::files(&[]).expect("the cases can be read") {
        for case in &file.cases {
            let writes = case.requests.iter().filter(|request| request.compare && request.method != "GET");
            for resource in writes.filter_map(|request| resource(&request.path)) {
                if let Some(count) = counts.get_mut(&resource) {
                    *count += 1;
                }
            }
        }
    }
    for (resource, count) in &counts {
        println!("{count:>5} {resource}");
    }
    let together: usize = counts.values().sum();
    println!("{together} objects of {} kinds", counts.len());
    let lacking = counts.iter().filter(|(_, count)| **count < WANTED).collect::<Vec<_>>();
    assert!(lacking.is_empty(), "less than {WANTED} objects: {lacking:?}");
    assert!(together >= WANTED_TOGETHER, "{together} objects");
}
