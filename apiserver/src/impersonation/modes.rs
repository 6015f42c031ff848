//! The ways in which somebody may be allowed to act as somebody else.
//!
//! Follows `mode.go`. A constrained mode needs two rights: to be that user (`impersonate:MODE` on the user, its groups
//! and so on), and to do this as such a user (`impersonate-on:MODE:VERB` on what the request is about). The old mode
//! needs `impersonate` only.

use std::sync::Arc;

use skiff_apimachinery::field::Path;
use skiff_apimachinery::names;
use skiff_apimachinery::status::Status;

use crate::authentication::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, UserInfo, service_account};
use crate::authorization::{Attributes, Authorizer, Decision, SUPERUSERS};
use crate::handler_chain::forbidden;

const NODE_PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";
/// Extra attribute of a ServiceAccount's token: the node that its pod runs on.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Extra attribute that stands for all others where the answer must not depend on them.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From this many groups or extra values on, one question for all comes before one for each.
const MANY: usize = 4;
const AUTHENTICATION: &str = "authentication.k8s.io";

/// One way, narrow ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    /// As any node.
    ArbitraryNode,
    /// As a service account.
    ServiceAccount,
    /// As anybody else, with groups, uid and extra.
    UserInfo,
    /// The verb `impersonate`, without regard to what is done.
    Legacy,
}

impl Mode {
    pub(super) const ALL: [Mode; 5] =
        [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    pub(super) fn verb(self) -> String {
        match self {
            Mode::Legacy => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    fn is_constrained(self) -> bool {
        self != Mode::Legacy
    }

    /// Whether this mode is about such a user at all.
    fn concerns(self, wanted: &UserInfo, requestor: &UserInfo) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_of(&wanted.name);
        let account = service_account::split_user_name(&wanted.name);
        match self {
            Mode::AssociatedNode => {
                let own = requestor.extra.get(NODE_NAME).map(Vec::as_slice);
                let asks_as_account = service_account::split_user_name(&requestor.name).is_some();
                only_name && asks_as_account && node.is_some_and(|node| matches!(own, Some([own]) if own == node))
            }
            Mode::ArbitraryNode => only_name && node.is_some(),
            Mode::ServiceAccount => only_name && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Legacy => true,
        }
    }

    /// The whole identity, if the requestor may take it on this way; `None` when this is not the way for such a user.
    pub(super) fn check(
        self,
        wanted: &UserInfo,
        request: &Attributes,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<UserInfo>, Status> {
        if !self.concerns(wanted, &request.user) {
            return Ok(None);
        }
        let check = Check { mode: self, requestor: self.requestor(request), authorizer };
        if self.is_constrained() {
            let mut on = request.clone();
            on.verb = format!("impersonate-on:{}:{}", self.name(), request.verb);
            on.user = check.requestor.clone();
            check.allowed(&on)?;
        }
        check.identity(wanted).map(Some)
    }

    /// Who is asked about: for the node that one runs on, the same for all pods of an account.
    fn requestor(self, request: &Attributes) -> Arc<UserInfo> {
        if self != Mode::AssociatedNode {
            return request.user.clone();
        }
        let mut requestor = UserInfo::clone(&request.user);
        let keys = requestor.extra.keys().cloned().collect();
        requestor.extra = [(NODE_KEYS.to_owned(), keys)].into_iter().collect();
        Arc::new(requestor)
    }
}

/// The questions of one mode.
struct Check<'a> {
    mode: Mode,
    requestor: Arc<UserInfo>,
    authorizer: &'a dyn Authorizer,
}

impl Check<'_> {
    fn identity(&self, wanted: &UserInfo) -> Result<UserInfo, Status> {
        let mut user = wanted.clone();
        self.name(wanted, &mut user)?;
        if !wanted.uid.is_empty() {
            self.allowed(&self.attributes(AUTHENTICATION, "uids", "", &wanted.uid))?;
        }
        self.groups(&wanted.groups)?;
        self.extra(wanted)?;
        let has = |group: &str| user.groups.iter().any(|own| own == group);
        if user.name == ANONYMOUS {
            if !has(UNAUTHENTICATED) {
                user.groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !has(UNAUTHENTICATED) && !has(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    fn name(&self, wanted: &UserInfo, user: &mut UserInfo) -> Result<(), Status> {
        let mut asked = self.attributes(self.user_group(), "users", "", &wanted.name);
        if let Some(node) = node_of(&wanted.name).filter(|_| self.mode.is_constrained()) {
            // Whether it may be one node is asked as whether it may be all: the node is the requestor's own.
            let name = if self.mode == Mode::AssociatedNode { "*" } else { node };
            asked = self.attributes(self.user_group(), "nodes", "", name);
            user.groups = vec![NODES.to_owned()];
        }
        if let Some((namespace, name)) = service_account::split_user_name(&wanted.name) {
            asked = self.attributes(self.user_group(), "serviceaccounts", "", name);
            asked.namespace = namespace.to_owned();
            if wanted.groups.is_empty() {
                user.groups = service_account::groups(namespace);
            }
        }
        self.allowed(&asked)
    }

    fn groups(&self, groups: &[String]) -> Result<(), Status> {
        let ask = |name: &str| self.attributes(self.user_group(), "groups", "", name);
        if self.mode.is_constrained() {
            if groups.iter().any(String::is_empty) {
                return Err(forbidden(&ask(""), "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == SUPERUSERS) {
                return Err(forbidden(&ask(SUPERUSERS), "impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.allowed(&ask("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| self.allowed(&ask(group)))
    }

    fn extra(&self, wanted: &UserInfo) -> Result<(), Status> {
        let ask = |key: &str, value: &str| self.attributes(AUTHENTICATION, "userextras", key, value);
        if self.mode.is_constrained() && !wanted.extra.is_empty() {
            if let Some(fault) = wanted.extra.iter().find_map(|(key, values)| extra_fault(key, values)) {
                return Err(forbidden(&ask("", ""), &fault));
            }
            let values = wanted.extra.values().map(Vec::len).sum::<usize>();
            if (wanted.extra.len() >= MANY || values >= MANY) && self.allowed(&ask("*", "*")).is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            values.iter().try_for_each(|value| self.allowed(&ask(key, value)))?;
        }
        Ok(())
    }

    /// Users and groups have no API; the old mode says that they are core's.
    fn user_group(&self) -> &'static str {
        if self.mode.is_constrained() { AUTHENTICATION } else { "" }
    }

    fn attributes(&self, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            user: self.requestor.clone(),
            verb: self.mode.verb(),
            is_resource_request: true,
            api_group: group.into(),
            api_version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    fn allowed(&self, attributes: &Attributes) -> Result<(), Status> {
        match self.authorizer.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
        }
    }
}

fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::dns1123_subdomain(name).is_empty())
}

/// What the constrained modes do not take on.
fn extra_fault(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    if let Some(fault) = domain_prefixed_fault(key) {
        return Some(format!("impersonating an invalid key in extra is not allowed: {fault}"));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    if values.is_empty() {
        return Some("impersonating empty values in extra is not allowed".into());
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".into())
}

/// A key of extra has a domain before its path (`IsDomainPrefixedPath` upstream).
fn domain_prefixed_fault(key: &str) -> Option<String> {
    use skiff_apimachinery::field::Error;
    let path = Path::new("extra").child("key");
    let Some((domain, rest)) = key.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let text = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return Some(Error::invalid(&path, key, text).to_string());
    };
    if let Some(text) = names::dns1123_subdomain(domain).first() {
        return Some(Error::invalid(&path, domain, text.as_str()).to_string());
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    let text = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
    (!rest.chars().all(letter)).then(|| Error::invalid(&path, rest, text).to_string())
}
