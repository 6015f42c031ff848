//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions decide about requests, or change them.
//!
//! [`match_resources`] says which requests a policy or binding is about, [`params`] finds the parameters of a binding,
//! [`invocation`] brings a policy, its bindings and a request together; [`validating`] says what follows. Follows `k8s.io/apiserver/pkg/admission/plugin/policy`.

pub mod check;
pub mod invocation;
pub mod match_resources;
pub mod params;
pub mod validating;

/// Group of the policies.
const GROUP: &str = "admissionregistration.k8s.io";

pub use self::validating::ValidatingPolicies;
