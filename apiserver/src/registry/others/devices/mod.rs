//! resource.k8s.io: devices, who claims them and who has them.
//!
//! Follows `pkg/registry/resource` and `pkg/apis/resource/{v1/defaults.go,validation}`.

pub mod admin_access;
mod capacity;
mod claim;
mod claims;
mod class;
mod device;
mod formats;
mod older;
mod pool_status;
mod selectors;
mod slice;
mod status;
mod taint_rule;

pub use self::claims::{ClaimStrategy, ClaimTemplateStrategy};
pub use self::class::DeviceClassStrategy;
pub use self::older::{OlderClaims, OlderSlices};
pub use self::pool_status::PoolStatusRequestStrategy;
pub use self::slice::ResourceSliceStrategy;
pub use self::taint_rule::DeviceTaintRuleStrategy;
