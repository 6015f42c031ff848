//! admissionregistration.k8s.io.
//!
//! Follows `pkg/registry/admissionregistration` and `pkg/apis/admissionregistration/{v1/defaults.go,validation}`. What
//! expressions mean is checked elsewhere; here is what holds for the objects around them.

mod bindings;
mod policies;
mod rules;
mod webhooks;

pub use self::bindings::BindingStrategy;
pub use self::policies::{MutatingPolicyStrategy, ValidatingPolicyStrategy};
pub use self::webhooks::WebhookConfigurationStrategy;
