//! `/version`.

use http::StatusCode;

use crate::context::RequestContext;
use crate::response::{self, Response};

/// The Kubernetes version whose API this is.
pub const KUBERNETES_MAJOR: &str = "1";
/// Its minor version: a bare integer, which clients parse.
pub const KUBERNETES_MINOR: &str = "36";

/// Commit that was built.
pub const GIT_COMMIT: &str = match option_env!("SKIFF_GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// Whether it was all committed.
pub const GIT_TREE_STATE: &str = "clean";
/// When it was built.
pub const BUILD_DATE: &str = match option_env!("SKIFF_BUILD_DATE") {
    Some(date) => date,
    None => "1970-01-01T00:00:00Z",
};
/// Where upstream names the version of Go.
pub const GO_VERSION: &str = "rust";
/// Compiler.
pub const COMPILER: &str = "rustc";

/// `gitVersion`: upstream's version with ours as build metadata.
pub fn git_version() -> String {
    format!("v{KUBERNETES_MAJOR}.{KUBERNETES_MINOR}.0+skiff.{}", env!("CARGO_PKG_VERSION"))
}

/// Answers `/version`.
pub fn answer(cx: &RequestContext) -> Response {
    let body = serde_json::json!({
        "major": KUBERNETES_MAJOR,
        "minor": KUBERNETES_MINOR,
        "emulationMajor": KUBERNETES_MAJOR,
        "emulationMinor": KUBERNETES_MINOR,
        "minCompatibilityMajor": KUBERNETES_MAJOR,
        "minCompatibilityMinor": "35",
        "gitVersion": git_version(),
        "gitCommit": GIT_COMMIT,
        "gitTreeState": GIT_TREE_STATE,
        "buildDate": BUILD_DATE,
        "goVersion": GO_VERSION,
        "compiler": COMPILER,
        "platform": platform(),
    });
    response::finish(cx, StatusCode::OK, "application/json", crate::pretty::indent(body.to_string().as_bytes()).into())
}

/// System and processor architecture, by Go's names.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}
