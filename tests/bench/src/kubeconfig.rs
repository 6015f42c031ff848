//! Where a server is and who we are to it, read from a kubeconfig.

use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The current context of a kubeconfig, with every file read.
#[derive(Clone, Debug)]
pub struct Access {
    /// URL of the server.
    pub server: String,
    /// Certificate authority, PEM.
    pub ca_pem: Vec<u8>,
    /// Client certificate chain and key, PEM.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
    /// Bearer token, if there is one.
    pub token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
}

impl Access {
    /// Reads the current context; `server` replaces the URL in the file.
    pub fn read(path: &Path, server: Option<&str>) -> anyhow::Result<Access> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not a kubeconfig", path.display()))?;
        let context = match file.contexts.iter().find(|context| context.name == file.current_context) {
            Some(context) => &context.context,
            None => bail!("{} has no current context", path.display()),
        };
        let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let user = file.users.iter().find(|user| user.name == context.user);
        let (Some(cluster), Some(user)) = (cluster, user) else {
            bail!("the current context of {} names a cluster or user that is not there", path.display());
        };
        let (cluster, user) = (&cluster.cluster, &user.user);
        let folder = path.parent().unwrap_or(Path::new("."));
        let material = |data: &Option<String>, file: &Option<String>| material(folder, data, file);
        let ca_pem = material(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
        let certificate = material(&user.client_certificate_data, &user.client_certificate)?;
        let key = material(&user.client_key_data, &user.client_key)?;
        Ok(Access {
            server: server.unwrap_or(&cluster.server).trim_end_matches('/').to_owned(),
            ca_pem: ca_pem.with_context(|| format!("{} has no certificate authority", path.display()))?,
            client: certificate.zip(key),
            token: user.token.clone(),
        })
    }
}

/// What stands in the file itself goes before what it points to, as in client-go.
fn material(folder: &Path, data: &Option<String>, file: &Option<String>) -> anyhow::Result<Option<Vec<u8>>> {
    match (data, file) {
        (Some(data), _) => Ok(Some(STANDARD.decode(data.trim()).context("data in the kubeconfig is not base64")?)),
        (None, Some(file)) => {
            let path = folder.join(file);
            Ok(Some(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_before_files_and_files_are_relative_to_the_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "authority").unwrap();
        let path = folder.path().join("config");
        let text = "
current-context: b
clusters: [{name: one, cluster: {server: 'https://h:1/', certificate-authority: ca.pem}}]
contexts: [{name: a, context: {cluster: x, user: x}}, {name: b, context: {cluster: one, user: me}}]
users: [{name: me, user: {client-certificate-data: YQ==, client-certificate: nowhere, client-key-data: Yg==}}]
";
        std::fs::write(&path, text).unwrap();
        let access = Access::read(&path, None).unwrap();
        assert_eq!(access.server, "https://h:1");
        assert_eq!(access.ca_pem, b"authority");
        assert_eq!(access.client, Some((b"a".to_vec(), b"b".to_vec())));
        assert_eq!(Access::read(&path, Some("https://other:2")).unwrap().server, "https://other:2");
    }

    #[test]
    fn a_missing_context_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "{clusters: [], contexts: [], users: []}").unwrap();
        assert!(Access::read(&path, None).unwrap_err().to_string().contains("no current context"));
    }
}
