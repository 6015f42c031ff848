//! Registry credentials out of pull secrets (upstream: `pkg/credentialprovider`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use skiff_cri::v1::AuthConfig;

use super::reference::ImageName;

const CONFIG_JSON: &str = ".dockerconfigjson";
const CONFIG_LEGACY: &str = ".dockercfg";

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: std::collections::BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// Credentials that fit an image, the most specific first. Secrets that cannot be read are skipped.
pub(crate) fn credentials(secrets: &[Secret], image: &ImageName) -> Vec<AuthConfig> {
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for secret in secrets {
        for (server, entry) in entries(secret) {
            if let (Some(length), Some(auth)) = (match_length(&server, image), auth(&server, &entry)) {
                found.push((length, auth));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn entries(secret: &Secret) -> Vec<(String, Entry)> {
    let data = secret.data.as_ref();
    let bytes = |key: &str| data.and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let entries = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            let config = bytes(CONFIG_JSON).and_then(|b| serde_json::from_slice::<Config>(b).ok());
            config.map(|config| config.auths)
        }
        Some("kubernetes.io/dockercfg") => bytes(CONFIG_LEGACY).and_then(|b| serde_json::from_slice(b).ok()),
        _ => None,
    };
    entries.unwrap_or_default().into_iter().collect()
}

/// How much of the image's name an entry's server covers; `None` if it is another one.
fn match_length(server: &str, image: &ImageName) -> Option<usize> {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path.trim_start_matches("v1/").trim_start_matches("v2/").trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    let path_matches = path.is_empty()
        || image.path == path
        || image.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    (host_matches(host, &image.registry) && path_matches).then_some(host.len() + path.len())
}

/// Hosts are equal part by part, where `*` in the pattern stands for a whole part.
fn host_matches(pattern: &str, host: &str) -> bool {
    let split = |text: &str| {
        let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
        (name.split('.').map(str::to_owned).collect::<Vec<_>>(), port.to_owned())
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    pattern_port == port && pattern.len() == host.len() && pattern.iter().zip(&host).all(|(p, h)| p == "*" || p == h)
}

fn auth(server: &str, entry: &Entry) -> Option<AuthConfig> {
    let (mut username, mut password) = (entry.username.clone(), entry.password.clone());
    if !entry.auth.is_empty() {
        let decoded = String::from_utf8(STANDARD.decode(entry.auth.trim()).ok()?).ok()?;
        let (user, secret) = decoded.split_once(':')?;
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    Some(AuthConfig { username, password, server_address: server.to_owned(), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(auths: serde_json::Value) -> Secret {
        let text = STANDARD.encode(json!({"auths": auths}).to_string());
        serde_json::from_value(json!({"type": "kubernetes.io/dockerconfigjson", "data": {CONFIG_JSON: text}}))
            .expect("a secret")
    }

    fn users(auths: serde_json::Value, image: &str) -> Vec<String> {
        let image = ImageName::parse(image).expect("an image");
        let found = credentials(&[secret(auths)], &image);
        found.into_iter().map(|auth| format!("{}:{}", auth.username, auth.password)).collect()
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        let auths = json!({
            "r.io": {"auth": STANDARD.encode("all:1")},
            "https://r.io/team": {"username": "team", "password": "2"},
            "*.corp.io:5000": {"username": "wild", "password": "3"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "4"}});
        assert_eq!(users(auths.clone(), "r.io/team/app"), ["team:2", "all:1"]);
        assert_eq!(users(auths.clone(), "r.io/teams/app"), ["all:1"]);
        assert_eq!(users(auths.clone(), "x.corp.io:5000/app"), ["wild:3"]);
        assert_eq!(users(auths.clone(), "x.corp.io/app"), [""; 0]);
        assert_eq!(users(auths, "nginx"), ["hub:4"]);
    }

    #[test]
    fn unreadable_secrets_are_skipped() {
        let image = ImageName::parse("nginx").expect("an image");
        assert!(credentials(&[Secret::default()], &image).is_empty());
        assert!(users(json!({"docker.io": {"auth": "%%%"}}), "nginx").is_empty());
    }
}
