//! A fingerprint of what a change of a running container's spec can touch.
//!
//! Only the name and the image enter it: everything else of a container is immutable, or is changed without a restart
//! (upstream: `pkg/kubelet/container/helpers.go`, HashContainer). The value is ours and is only compared with values
//! that this kubelet wrote as an annotation of the container.

use k8s_openapi::api::core::v1::Container;

/// 64-bit FNV-1a over the length-prefixed name and image.
pub(crate) fn container_hash(container: &Container) -> u64 {
    let image = container.image.as_deref().unwrap_or_default();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in [container.name.as_str(), image] {
        let length = (text.len() as u64).to_le_bytes();
        for byte in length.iter().chain(text.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_image_count() {
        let container =
            |name: &str, image: &str| Container { name: name.into(), image: Some(image.into()), ..Default::default() };
        let base = container_hash(&container("a", "b"));
        assert_ne!(base, container_hash(&container("a", "c")));
        assert_ne!(base, container_hash(&container("ab", "")));
        let other = Container { tty: Some(true), ..container("a", "b") };
        assert_eq!(base, container_hash(&other));
    }
}
