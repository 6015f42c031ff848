//! Which group versions are served: `--runtime-config`.
//!
//! Follows `k8s.io/apiserver/pkg/server/resourceconfig`: first the keys for many (`api/all`, `api/ga`, `api/beta`,
//! `api/alpha`), then those for one group version (`apps/v1`, `v1`); a key without a value turns on. Kinds of features that
//! are off are not served whatever the flag says, as upstream's storage providers have it (`pkg/registry/*/rest`): a server
//! that kept them would drop the fields that refer to them.

use skiff_api::KindInfo;

/// What the flag says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Keys for many versions, in the order in which they count: narrower ones last.
    many: Vec<(Stability, bool)>,
    one: Vec<(String, bool)>,
}

/// Which versions a key for many is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stability {
    All,
    Stable,
    Beta,
    Alpha,
}

const MANY: [(&str, Stability); 4] = [
    ("api/all", Stability::All),
    ("api/ga", Stability::Stable),
    ("api/beta", Stability::Beta),
    ("api/alpha", Stability::Alpha),
];

/// Resources of features that are off by default in v1.36: ClusterTrustBundle, PodCertificateRequest, GenericWorkload,
/// StorageVersionMigrator.
const OFF: [(&str, &str); 5] = [
    ("certificates.k8s.io", "clustertrustbundles"),
    ("certificates.k8s.io", "podcertificaterequests"),
    ("scheduling.k8s.io", "podgroups"),
    ("scheduling.k8s.io", "workloads"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

impl Stability {
    fn includes(self, version: &str) -> bool {
        let (alpha, beta) = (version.contains("alpha"), version.contains("beta"));
        match self {
            Self::All => true,
            Self::Stable => !alpha && !beta,
            Self::Beta => beta,
            Self::Alpha => alpha,
        }
    }
}

impl RuntimeConfig {
    /// Reads `KEY[=true|false]` pairs. A key that names nothing, or a value that is neither, is an error: a typing mistake
    /// must not go unnoticed.
    pub fn parse(pairs: &[String]) -> Result<Self, String> {
        let mut config = Self::default();
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let on = match value {
                "" | "true" | "1" => true,
                "false" | "0" => false,
                other => return Err(format!("--runtime-config: {key}={other}: neither true nor false")),
            };
            // The core group has an older name.
            let key = if matches!(key, "api/legacy" | "api/v1") { "v1" } else { key };
            if MANY.iter().any(|(name, _)| *name == key) {
                config.many.extend(MANY.iter().filter(|(name, _)| *name == key).map(|(_, many)| (*many, on)));
            } else if skiff_api::builtin().kinds.iter().any(|kind| kind.api_version() == key) {
                config.one.push((key.to_owned(), on));
            } else {
                return Err(format!("--runtime-config: unknown API version {key}"));
            }
        }
        // Upstream lets the wider key count first, whatever the order on the command line.
        config.many.sort_by_key(|(many, _)| *many != Stability::All);
        Ok(config)
    }

    /// Whether a kind's version is served.
    pub fn serves(&self, info: &KindInfo) -> bool {
        if OFF.contains(&(&info.group, &info.plural)) {
            return false;
        }
        let many = self.many.iter().rev().find(|(many, _)| many.includes(&info.version));
        let one = self.one.iter().rev().find(|(version, _)| *version == info.api_version());
        one.map(|(_, on)| *on).or(many.map(|(_, on)| *on)).unwrap_or(info.served_by_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(pairs: &[&str], group: &str, version: &str, plural: &str) -> bool {
        let pairs = pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>();
        let config = RuntimeConfig::parse(&pairs).expect("readable");
        config.serves(skiff_api::builtin().resource(group, version, plural).expect("a resource"))
    }

    #[test]
    fn one_counts_more_than_many() {
        let beta = |pairs: &[&str]| served(pairs, "resource.k8s.io", "v1beta1", "resourceclaims");
        assert!(!beta(&[]));
        assert!(beta(&["resource.k8s.io/v1beta1"]) && beta(&["resource.k8s.io/v1beta1=true"]));
        assert!(beta(&["api/all=true"]) && beta(&["api/beta=true"]) && !beta(&["api/alpha=true"]));
        assert!(!beta(&["api/beta=false", "api/all=true"]));
        assert!(beta(&["resource.k8s.io/v1beta1=true", "api/all=false"]));
        let stable = |pairs: &[&str]| served(pairs, "batch", "v1", "jobs");
        assert!(stable(&[]) && !stable(&["batch/v1=false"]) && !stable(&["api/ga=false"]));
    }

    #[test]
    fn kinds_of_features_that_are_off_are_not_served() {
        for pair in ["api/all=true", "certificates.k8s.io/v1beta1=true"] {
            assert!(!served(&[pair], "certificates.k8s.io", "v1beta1", "clustertrustbundles"), "{pair}");
        }
        assert!(served(&["api/all=true"], "coordination.k8s.io", "v1beta1", "leasecandidates"));
    }

    #[test]
    fn mistakes_are_noticed() {
        for pair in ["batch/v7", "batch/v1=maybe", "nothing"] {
            assert!(RuntimeConfig::parse(&[pair.to_owned()]).is_err(), "{pair}");
        }
    }
}
