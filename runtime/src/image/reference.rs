//! Image names in their full form: `busybox` is `docker.io/library/busybox:latest`.

use oci_client::Reference;

use super::ImageError;

/// Parses and completes a name as users write it.
pub(crate) fn normalize(name: &str) -> Result<Reference, ImageError> {
    name.parse::<Reference>().map_err(|error| ImageError::Reference(name.to_owned(), error.to_string()))
}

/// The name under which a reference with a tag is listed; `None` for one with a digest.
pub(super) fn tagged(reference: &Reference) -> Option<String> {
    if reference.digest().is_some() {
        return None;
    }
    let tag = reference.tag().unwrap_or("latest");
    Some(format!("{}/{}:{tag}", reference.registry(), reference.repository()))
}

/// The name of content in the repository of a reference.
pub(super) fn digested(reference: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", reference.registry(), reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (name, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("library/busybox", "docker.io/library/busybox:latest"),
            ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("skiff.local/echo:v1", "skiff.local/echo:v1"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("registry.k8s.io/e2e-test-images/agnhost:2.47", "registry.k8s.io/e2e-test-images/agnhost:2.47"),
        ] {
            let reference = normalize(name).expect(name);
            assert_eq!(tagged(&reference).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn digests_are_kept_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference = normalize(&format!("busybox@{digest}")).expect("valid");
        assert_eq!(tagged(&reference), None);
        assert_eq!(digested(&reference, &digest), format!("docker.io/library/busybox@{digest}"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "UPPER", "a b", "a:b:c", "-x", "a@sha256:12", "../x"] {
            assert!(matches!(normalize(name), Err(ImageError::Reference(..))), "{name}");
        }
    }
}
