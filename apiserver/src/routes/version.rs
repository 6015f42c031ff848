//! `/version`.

use http::StatusCode;

use crate::context::RequestContext;
use crate::response::{self, Response};

/// The Kubernetes version whose API this is.
pub const KUBERNETES_MAJOR: &str = "1";
/// Its minor version: a bare integer, which clients parse.
pub const KUBERNETES_MINOR: &str = "36";

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
        "gitCommit": option_env!("SKIFF_GIT_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": option_env!("SKIFF_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        "goVersion": "rust",
        "compiler": "rustc",
        "platform": format!("linux/{}", platform()),
    });
    response::finish(cx, StatusCode::OK, "application/json", crate::pretty::indent(body.to_string().as_bytes()).into())
}

/// Go's name of the processor architecture.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
