//! ServiceAccount tokens: signed statements that end with their time, their account, or the object they are bound to.

mod claims;
mod discovery;
mod issue;
mod keys;
mod verify;

pub use self::discovery::OidcDocuments;
pub use self::issue::{TokenIssuer, TokenIssuerConfig};
pub use self::keys::{KeyError, TokenKeys};
pub use self::verify::{ServiceAccountTokens, TokenUser};

/// Begin of every ServiceAccount's user name.
pub const USER_PREFIX: &str = "system:serviceaccount:";

/// The user name of a ServiceAccount.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

/// The groups of a ServiceAccount.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

#[cfg(test)]
mod tests;
