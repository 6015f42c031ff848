//! ServiceAccount tokens: signed statements that end with their time, their account, or the object they are bound to, and
//! those of old that stand in Secrets ([`legacy`]).

mod claims;
mod discovery;
mod issue;
mod keys;
mod legacy;
mod verify;

pub use self::discovery::OidcDocuments;
pub use self::issue::{TokenIssuer, TokenIssuerConfig};
pub use self::keys::{KeyError, TokenKeys};
pub use self::verify::{ServiceAccountTokens, TokenUser};

use skiff_apimachinery::names;

/// Begin of every ServiceAccount's user name.
pub const USER_PREFIX: &str = "system:serviceaccount:";

/// The user name of a ServiceAccount.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the ServiceAccount with this user name; `None` for other users.
pub fn split_user_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(USER_PREFIX)?.split_once(':')?;
    let valid = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// The groups of a ServiceAccount.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

#[cfg(test)]
mod tests;
