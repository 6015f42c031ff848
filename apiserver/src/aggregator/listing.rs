//! All groups in the order of discovery: by the priorities that APIServices give them, this server's and others'.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::ApiService;
use super::{Delegated, GROUP, Picture};
use crate::registry::served::{Served, Version};
use crate::registry::versions;

/// Of groups without an APIService, and of custom resources.
pub const CUSTOM_GROUP_PRIORITY: i64 = 1000;
/// Of their versions.
pub const CUSTOM_VERSION_PRIORITY: i64 = 100;

/// A group.
pub struct GroupListing<'a> {
    /// Name.
    pub name: &'a str,
    /// Versions, most preferred first.
    pub versions: Vec<VersionListing<'a>>,
}

/// A version of a group.
pub struct VersionListing<'a> {
    /// Name.
    pub name: &'a str,
    /// Who serves it.
    pub by: By<'a>,
}

/// Who serves a version.
pub enum By<'a> {
    /// This server.
    Us(&'a Version),
    /// Somebody else.
    Others(&'a Arc<Delegated>),
}

/// All groups but core. A group version that others serve is theirs even where this server has one of that name.
pub fn groups<'a>(served: &'a Served, picture: &'a Picture) -> Vec<GroupListing<'a>> {
    let mut groups: BTreeMap<&str, Vec<VersionListing<'_>>> = BTreeMap::new();
    for group in served.groups.iter().filter(|group| !group.name.is_empty()) {
        let ours = group.versions.iter().filter(|version| picture.find(&group.name, &version.name).is_none());
        let ours = ours.map(|version| VersionListing { name: &version.name, by: By::Us(version) });
        groups.entry(&group.name).or_default().extend(ours);
    }
    for delegated in &picture.delegated {
        let version = VersionListing { name: &delegated.service.version, by: By::Others(delegated) };
        groups.entry(&delegated.service.group).or_default().push(version);
    }
    let service = |group: &str, version: &str| {
        picture.services.iter().find(|service| service.group == group && service.version == version)
    };
    let mut all = groups.into_iter().map(|(name, versions)| GroupListing { name, versions }).collect::<Vec<_>>();
    for group in &mut all {
        let priority = |version: &VersionListing<'_>| {
            service(group.name, version.name).map_or(CUSTOM_VERSION_PRIORITY, |service| service.version_priority)
        };
        group.versions.sort_by(|a, b| priority(b).cmp(&priority(a)).then_with(|| versions::compare(a.name, b.name)));
    }
    // Equal ones stay in the order of their names.
    all.sort_by_key(|group| Reverse(priority_of(group.name, &picture.services)));
    all
}

/// How a group ranks. The group of the APIServices themselves comes first.
fn priority_of(group: &str, services: &[Arc<ApiService>]) -> i64 {
    if group == GROUP {
        return i64::MAX;
    }
    let of_group = services.iter().filter(|service| service.group == group);
    of_group.map(|service| service.group_priority).max().unwrap_or(CUSTOM_GROUP_PRIORITY)
}
