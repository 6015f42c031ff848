//! Deletes the objects of one resource in one namespace.

use std::collections::BTreeMap;

use kube::{Client, Result};
use skiff_client::errors;
use skiff_client::objects::{DeleteOptions, Objects};
use skiff_client::types::PartialObject;
use skiff_client::watch::Source;

use crate::discovery::Discovered;

/// What is left after a deletion was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Remaining {
    /// Objects.
    pub(super) count: usize,
    /// How many objects have each finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
}

/// Deletes everything, and says what is still there after that. An empty collection costs one list.
pub(super) async fn empty(client: &Client, found: &Discovered, namespace: &str) -> Result<Remaining> {
    let there = list(client, found, namespace).await?;
    if there.is_empty() {
        return Ok(Remaining::default());
    }
    let api = Objects::<PartialObject>::of(client, found.resource.clone(), namespace);
    // Never orphan: everything here is going, and nothing must be left that waits for the garbage collector.
    let options = DeleteOptions::default().propagation("Background");
    if found.can("deletecollection") {
        supported(api.delete_collection(&options).await)?;
    } else {
        for object in &there {
            supported(api.delete(&object.metadata.name, &options).await)?;
        }
    }
    let mut remaining = Remaining::default();
    for object in list(client, found, namespace).await? {
        remaining.count += 1;
        for finalizer in object.metadata.finalizers {
            *remaining.finalizers.entry(finalizer).or_insert(0) += 1;
        }
    }
    Ok(remaining)
}

async fn list(client: &Client, found: &Discovered, namespace: &str) -> Result<Vec<PartialObject>> {
    if !found.can("list") {
        return Ok(Vec::new());
    }
    let mut source = Source::all(found.resource.clone());
    source.namespace = namespace.to_owned();
    source.metadata_only = true;
    Ok(supported(source.list(client).await)?.map(|(objects, _)| objects).unwrap_or_default())
}

/// A resource that went away, or that does not know the verb after all, has nothing to delete.
fn supported<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if errors::is_not_found(&error) || errors::is_method_not_allowed(&error) => Ok(None),
        other => other.map(Some),
    }
}
