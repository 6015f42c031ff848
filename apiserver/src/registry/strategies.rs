//! The list of kinds that differ from the generic behaviour.

use skiff_api::KindInfo;

use super::conversion::Conversion;
use super::strategy::{Generic, Strategy};

/// The strategy of a stored resource.
pub fn strategy(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        _ => &Generic,
    }
}

/// How a served version becomes the stored form, where they differ.
pub fn conversion(_group: &str, _version: &str, _plural: &str) -> Option<&'static dyn Conversion> {
    None
}

/// Whether objects of the resource are kept: everything that can be listed, but for ComponentStatus, which reports.
pub fn is_stored(info: &KindInfo) -> bool {
    info.list_kind.is_some() && info.plural != "componentstatuses"
}
