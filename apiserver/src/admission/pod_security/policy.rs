//! Which level of the Pod Security Standards a namespace asks for.
//!
//! Follows `k8s.io/pod-security-admission/api/helpers.go`.

use skiff_apimachinery::field::{self, ErrorList};
use skiff_apimachinery::value::Value;

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// As of which version of Kubernetes, e.g. 34 for v1.34.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    pub(super) fn is_at_least(self, minor: u32) -> bool {
        match self {
            Version::Minor(own) => own >= minor,
            Version::Latest => true,
        }
    }
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl std::fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

const DEFAULT: LevelVersion = LevelVersion { level: Level::Privileged, version: Version::Latest };

/// What a namespace's labels say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// Pods that violate it are refused.
    pub(super) enforce: LevelVersion,
    /// Of what violates it the audit log says so.
    pub(super) audit: LevelVersion,
    /// What violates it is warned about.
    pub(super) warn: LevelVersion,
    /// Labels that cannot be read.
    pub(super) errors: ErrorList,
}

impl Policy {
    /// The policy of a namespace. A level or version that cannot be read counts as the strictest for `enforce`.
    pub(super) fn of(namespace: &Value) -> Self {
        let label =
            |name: &str| namespace.str_at(&["metadata", "labels", &format!("pod-security.kubernetes.io/{name}")]);
        let mut policy = Self { enforce: DEFAULT, audit: DEFAULT, warn: DEFAULT, errors: Vec::new() };
        let mut enforced = None;
        if let Some(text) = label("enforce") {
            enforced = policy.level("enforce", text);
            policy.enforce.level = enforced.unwrap_or(Level::Restricted);
        }
        if let Some(text) = label("enforce-version") {
            policy.enforce.version = policy.version("enforce-version", text);
        }
        if let Some(text) = label("audit") {
            policy.audit.level = policy.level("audit", text).unwrap_or(Level::Privileged);
        }
        if let Some(text) = label("audit-version") {
            policy.audit.version = policy.version("audit-version", text);
        }
        if let Some(text) = label("warn") {
            policy.warn.level = policy.level("warn", text).unwrap_or(Level::Privileged);
        }
        if let Some(text) = label("warn-version") {
            policy.warn.version = policy.version("warn-version", text);
        }
        // Whoever enforces without a word about warnings gets them for workloads, too.
        if label("warn").is_none()
            && let Some(level) = enforced
            && level > policy.warn.level
        {
            policy.warn.level = level;
            if label("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        policy
    }

    /// Whether nothing violates it.
    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|policy| policy.level == Level::Privileged)
    }

    fn error(&mut self, label: &str, text: &str, problem: &str) {
        let labels = field::Path::new("metadata").child("labels");
        let path = labels.key(&format!("pod-security.kubernetes.io/{label}"));
        self.errors.push(field::Error::invalid(&path, text, problem));
    }

    fn level(&mut self, label: &str, text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => {
                self.error(label, text, "must be one of privileged, baseline, restricted");
                None
            }
        }
    }

    fn version(&mut self, label: &str, text: &str) -> Version {
        if text == "latest" {
            return Version::Latest;
        }
        let digits = text.strip_prefix("v1.").unwrap_or("");
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        match digits.parse() {
            Ok(minor) if plain => Version::Minor(minor),
            _ => {
                self.error(label, text, "must be \"latest\" or \"v1.x\"");
                Version::Latest
            }
        }
    }
}
