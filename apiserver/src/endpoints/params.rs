//! Options that come as query parameters or as an options object, with upstream's validation.
//!
//! Follows `metav1.{Create,Update,Patch,Delete,List}Options` and their validation in
//! `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use crate::context::RequestContext;
use crate::query::Query;
use crate::registry::deletion::DeleteOptions;

/// Longest `fieldManager`, in characters.
const MAX_FIELD_MANAGER: usize = 128;
const META_GROUP: &str = "meta.k8s.io";

/// What happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped with a warning.
    Warn,
    /// The request fails.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Manager of the fields; from the User-Agent when the client names none.
    pub manager: String,
    /// Whether the client named the manager.
    pub manager_given: bool,
    /// What to do with unknown and duplicate fields.
    pub validation: FieldValidation,
    /// Apply takes fields over from other managers.
    pub force: bool,
}

impl WriteOptions {
    /// Reads and validates the options of a request; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`,
    /// `apply` whether the patch is an apply.
    pub fn from_query(cx: &RequestContext, kind: &str, apply: bool) -> Result<Self, Status> {
        let query = &cx.query;
        let mut errors = ErrorList::default();
        let manager = query.text("fieldManager");
        let force = query.get("force");
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                let detail = "is required for apply patch";
                errors.push(Error::required(&Path::new("fieldManager"), detail));
            } else if !apply && force.is_some() {
                errors.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        validate_field_manager(manager, &mut errors);
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let path = Path::new("fieldValidation");
                errors.push(Error::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(status::invalid(META_GROUP, kind, "", errors));
        }
        Ok(Self {
            dry_run,
            manager: if manager.is_empty() { manager_of(&cx.user_agent) } else { manager.to_owned() },
            manager_given: !manager.is_empty(),
            validation,
            force: query.flag("force"),
        })
    }
}

/// The manager name that a User-Agent stands for: what is before the first slash.
fn manager_of(user_agent: &str) -> String {
    let prefix = user_agent.split('/').next().unwrap_or("");
    let name = prefix.chars().filter(|c| !c.is_control()).take(MAX_FIELD_MANAGER).collect::<String>();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

fn validate_field_manager(manager: &str, errors: &mut ErrorList) {
    let path = Path::new("fieldManager");
    if manager.chars().count() > MAX_FIELD_MANAGER {
        errors.push(Error::too_long(&path, manager, MAX_FIELD_MANAGER));
    }
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let message = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(Error::invalid(&path, manager, message));
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let values = values.filter(|v| !v.is_empty()).collect::<Vec<_>>();
    if values.iter().any(|value| *value != "All") {
        let all = Value::Array(values.iter().map(|value| Value::from(*value)).collect());
        errors.push(Error::not_supported(&Path::new("dryRun"), all, &["All"]));
    }
    !values.is_empty()
}

/// Reads delete options from a decoded `DeleteOptions` object, or from the query when there was no body.
pub fn delete_options(body: Option<&Value>, query: &Query) -> Result<DeleteOptions, Status> {
    let mut errors = ErrorList::default();
    let options = match body {
        Some(body) => DeleteOptions {
            grace_period_seconds: body.i64_at(&["gracePeriodSeconds"]),
            uid: body.str_at(&["preconditions", "uid"]).map(str::to_owned),
            resource_version: body.str_at(&["preconditions", "resourceVersion"]).map(str::to_owned),
            propagation_policy: body.str_at(&["propagationPolicy"]).map(str::to_owned),
            orphan_dependents: body.bool_at(&["orphanDependents"]),
            dry_run: dry_run(body.array_at(&["dryRun"]).iter().filter_map(Value::as_str), &mut errors),
        },
        None => DeleteOptions {
            grace_period_seconds: integer(query, "gracePeriodSeconds")?,
            uid: None,
            resource_version: None,
            propagation_policy: query.get("propagationPolicy").filter(|p| !p.is_empty()).map(str::to_owned),
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            dry_run: dry_run(query.all("dryRun"), &mut errors),
        },
    };
    if options.propagation_policy.is_some() && options.orphan_dependents.is_some() {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        let policy = options.propagation_policy.as_deref().unwrap_or("");
        errors.push(Error::invalid(&Path::new("propagationPolicy"), policy, detail));
    }
    if let Some(policy) = options.propagation_policy.as_deref()
        && !matches!(policy, "Foreground" | "Background" | "Orphan")
    {
        let supported = ["Foreground", "Background", "Orphan", "nil"];
        errors.push(Error::not_supported(&Path::new("propagationPolicy"), policy, &supported));
    }
    if errors.is_empty() { Ok(options) } else { Err(status::invalid(META_GROUP, "DeleteOptions", "", errors)) }
}

/// An integer parameter; 400 when it is not one.
pub fn integer(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    match query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let wrong = match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                true => "value out of range",
                false => "invalid syntax",
            };
            status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {wrong}"))
        }),
    }
}

/// How `resourceVersion` of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Not stated.
    Unset,
    /// That state or a later one.
    NotOlderThan,
    /// That very state.
    Exact,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// `labelSelector`, unparsed.
    pub label_selector: String,
    /// `fieldSelector`, unparsed.
    pub field_selector: String,
    /// `resourceVersion`; empty when absent.
    pub resource_version: String,
    /// `resourceVersionMatch`.
    pub version_match: VersionMatch,
    /// Page size; 0 for all.
    pub limit: usize,
    /// `continue` token; empty for the first page.
    pub continue_token: String,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// Whether a watcher takes bookmarks.
    pub allow_bookmarks: bool,
    /// Whether a watcher wants the current state first.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and validates.
    pub fn from_query(query: &Query, watch: bool) -> Result<Self, Status> {
        let mut match_text = query.text("resourceVersionMatch");
        let mut options = Self {
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
            resource_version: query.text("resourceVersion").to_owned(),
            version_match: match match_text {
                "NotOlderThan" => VersionMatch::NotOlderThan,
                "Exact" => VersionMatch::Exact,
                _ => VersionMatch::Unset,
            },
            limit: usize::try_from(integer(query, "limit")?.unwrap_or(0)).unwrap_or(0),
            continue_token: query.text("continue").to_owned(),
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0),
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        // A watch from nowhere has always begun with the state; since WatchList that is said in its terms
        // (`internalversion.SetListOptionsDefaults`).
        if watch
            && options.send_initial_events.is_none()
            && match_text.is_empty()
            && matches!(options.resource_version.as_str(), "" | "0")
        {
            options.send_initial_events = Some(true);
            options.version_match = VersionMatch::NotOlderThan;
            match_text = "NotOlderThan";
        }
        let errors = if watch { options.validate_watch(match_text) } else { options.validate_list(match_text) };
        if errors.is_empty() { Ok(options) } else { Err(status::invalid(META_GROUP, "ListOptions", "", errors)) }
    }

    fn validate_list(&self, match_text: &str) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("resourceVersionMatch");
        if !match_text.is_empty() {
            let mut forbidden = |detail: &str| errors.push(Error::forbidden(&path, detail));
            if self.resource_version.is_empty() {
                forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.continue_token.is_empty() {
                forbidden("resourceVersionMatch is forbidden when continue is provided");
            }
            if self.version_match == VersionMatch::Exact && self.resource_version == "0" {
                forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            if self.version_match == VersionMatch::Unset {
                errors.push(Error::not_supported(&path, match_text, &["Exact", "NotOlderThan", ""]));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn validate_watch(&self, match_text: &str) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("resourceVersionMatch");
        if self.send_initial_events.is_some() && self.version_match != VersionMatch::NotOlderThan {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(&path, detail));
        }
        if !match_text.is_empty() {
            if self.send_initial_events.is_none() {
                let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(Error::forbidden(&path, detail));
            }
            if self.version_match != VersionMatch::NotOlderThan {
                errors.push(Error::not_supported(&path, match_text, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                let detail = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(Error::forbidden(&path, detail));
            }
        }
        errors
    }
}

/// `resourceVersion` as a number. One that is none is an error without a reason, and so 500, as upstream.
pub fn revision(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let wrong = match text.bytes().all(|b| b.is_ascii_digit()) {
            true => "value out of range",
            false => "invalid syntax",
        };
        let message = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {wrong}");
        Status::new(500, "", message)
    })
}
