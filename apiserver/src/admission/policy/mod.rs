//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions decide about requests, or change them.
//!
//! [`match_resources`] says which requests a policy or binding is about, [`params`] finds the parameters of a binding,
//! [`invocation`] brings a policy, its bindings and a request together; [`validating`] and
//! [`mutating`] say what follows, [`check`] what is wrong with a policy as it is written. Follows `k8s.io/apiserver/pkg/admission/plugin/policy`.

mod atomics;
pub mod check;
pub mod invocation;
pub mod match_resources;
pub mod mutating;
pub mod params;
#[cfg(test)]
mod tests;
pub mod validating;

/// Group of the policies.
const GROUP: &str = "admissionregistration.k8s.io";

pub use self::mutating::MutatingPolicies;
pub use self::validating::ValidatingPolicies;
