//! Every pod has a ServiceAccount, and its containers find the account's token where client libraries look.
//!
//! Follows `plugin/pkg/admission/serviceaccount`.

use std::sync::Arc;
use std::time::Duration;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request, is_mirror_pod};
use crate::objects::Objects;

const DEFAULT_ACCOUNT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ENFORCE_MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
/// What an automounted token asks for; the token issuer knows it by this number.
const TOKEN_SECONDS: i64 = 3607;
/// The default account of a new namespace is made by a controller: looked for this often,
const DEFAULT_ACCOUNT_ATTEMPTS: usize = 10;
/// this far apart.
const DEFAULT_ACCOUNT_INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct ServiceAccount {
    objects: Objects,
}

impl ServiceAccount {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    async fn account(&self, request: &Request<'_>, name: &str) -> Result<Arc<Value>, Status> {
        let attempts = if name == DEFAULT_ACCOUNT { DEFAULT_ACCOUNT_ATTEMPTS } else { 1 };
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(DEFAULT_ACCOUNT_INTERVAL).await;
            }
            if let Some(account) = self.objects.find("", "serviceaccounts", request.namespace, name).await? {
                return Ok(account);
            }
        }
        let namespace = request.namespace;
        Err(request.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        )))
    }

    async fn validate_pod(&self, request: &Request<'_>) -> Result<(), Status> {
        let pod = request.object();
        if is_mirror_pod(pod) && request.operation == Operation::Create {
            return match mirror_fault(pod) {
                Some(text) => Err(request.forbidden(text)),
                None => Ok(()),
            };
        }
        let name = pod.str_at(&["spec", "serviceAccountName"]).unwrap_or("");
        if name.is_empty() {
            let pod_name = pod.str_at(&["metadata", "name"]).unwrap_or("");
            let text = format!("no service account specified for pod {}/{pod_name}", request.namespace);
            return Err(request.forbidden(&text));
        }
        let account = self.account(request, name).await?;
        let enforced = account.str_at(&["metadata", "annotations", ENFORCE_MOUNTABLE_SECRETS]).unwrap_or("");
        if !matches!(enforced, "1" | "t" | "T" | "TRUE" | "true" | "True") {
            return Ok(());
        }
        match unmountable(&account, pod, request.operation == Operation::Update) {
            Some(text) => Err(request.forbidden(&text)),
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty()
            && resource == "pods"
            && matches!((operation, subresource), (Operation::Create, "") | (Operation::Update, "ephemeralcontainers"))
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        // A kubelet would not recognize its mirror pod if it changed.
        if is_mirror_pod(request.object()) {
            return self.validate_pod(request).await;
        }
        let given =
            ["serviceAccountName", "serviceAccount"].map(|f| request.object().str_at(&["spec", f]).unwrap_or(""));
        let name = given.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT).to_owned();
        let account = self.account(request, &name).await?;
        let Some(pod) = &mut request.object else { return Ok(()) };
        pod.set_at(&["spec", "serviceAccountName"], name.as_str());
        // The field's old name, which upstream keeps equal.
        pod.set_at(&["spec", "serviceAccount"], name.as_str());
        let wanted = pod.bool_at(&["spec", "automountServiceAccountToken"]);
        if wanted.or_else(|| account.bool_at(&["automountServiceAccountToken"])).unwrap_or(true) {
            mount_token(pod);
        }
        if pod.array_at(&["spec", "imagePullSecrets"]).is_empty() {
            let secrets = account.array_at(&["imagePullSecrets"]);
            if !secrets.is_empty() {
                pod.set_at(&["spec", "imagePullSecrets"], secrets.to_vec());
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        self.validate_pod(request).await
    }
}

/// Gives every container without a mount at the well-known path the account's token, certificate and namespace.
fn mount_token(pod: &mut Value) {
    let existing = pod.array_at(&["spec", "volumes"]).iter().filter_map(|volume| volume.str_at(&["name"]));
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container.array_at(&["volumeMounts"]).to_vec();
            if mounts.iter().any(|mount| mount.str_at(&["mountPath"]) == Some(MOUNT_PATH)) {
                continue;
            }
            mounts.push(value!({"name": (name.as_str()), "readOnly": true, "mountPath": MOUNT_PATH}));
            container.set_at(&["volumeMounts"], mounts);
            needed = true;
        }
    }
    if needed && existing.is_none() {
        let mut volumes = pod.array_at(&["spec", "volumes"]).to_vec();
        volumes.push(value!({"name": (name.as_str()), "projected": (token_volume())}));
        pod.set_at(&["spec", "volumes"], volumes);
    }
}

fn token_volume() -> Value {
    value!({
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
            ]}}
        ]
    })
}

/// Five characters that spell no words (`k8s.io/apimachinery/pkg/util/rand`).
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes: [u8; 5] = rand::random();
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// Every Secret name of a pod's containers' environments and volumes.
fn secret_names(pod: &Value) -> Vec<&str> {
    let mut names = Vec::new();
    names.extend(pod.array_at(&["spec", "imagePullSecrets"]).iter().map(|s| s.str_at(&["name"]).unwrap_or("")));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in pod.array_at(&["spec", list]) {
            names.extend(environment_secrets(container).into_iter().map(|(_, name)| name));
        }
    }
    for volume in pod.array_at(&["spec", "volumes"]) {
        names.extend(volume.str_at(&["secret", "secretName"]));
        names.extend(volume.str_at(&["azureFile", "secretName"]));
        for source in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            names.extend(volume.str_at(&[source, "secretRef", "name"]));
        }
        names.extend(volume.str_at(&["csi", "nodePublishSecretRef", "name"]));
        let projected = volume.array_at(&["projected", "sources"]);
        names.extend(projected.iter().filter_map(|source| source.str_at(&["secret", "name"])));
    }
    names
}

/// The Secrets in a container's environment, each with the variable (`None` for envFrom).
fn environment_secrets(container: &Value) -> Vec<(Option<&str>, &str)> {
    let variables = container.array_at(&["env"]).iter().filter_map(|variable| {
        let secret = variable.str_at(&["valueFrom", "secretKeyRef", "name"])?;
        Some((Some(variable.str_at(&["name"]).unwrap_or("")), secret))
    });
    let whole = container
        .array_at(&["envFrom"])
        .iter()
        .filter_map(|source| Some((None, source.str_at(&["secretRef", "name"])?)));
    variables.chain(whole).collect()
}

/// A mirror pod shows what runs anyway; it must not make the API server give a node access to anything.
fn mirror_fault(pod: &Value) -> Option<&'static str> {
    let token = |volume: &Value| {
        volume.array_at(&["projected", "sources"]).iter().any(|source| source.get("serviceAccountToken").is_some())
    };
    if pod.str_at(&["spec", "serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        Some("a mirror pod may not reference service accounts")
    } else if !secret_names(pod).is_empty() {
        Some("a mirror pod may not reference secrets")
    } else if pod.array_at(&["spec", "volumes"]).iter().any(token) {
        Some("a mirror pod may not use ServiceAccountToken volume projections")
    } else {
        None
    }
}

/// The first Secret that a pod uses and its account does not list, where the account asks for that to be refused.
fn unmountable(account: &Value, pod: &Value, only_ephemeral: bool) -> Option<String> {
    let account_name = account.str_at(&["metadata", "name"]).unwrap_or("");
    let listed = |field: &str, name: &str| account.array_at(&[field]).iter().any(|s| s.str_at(&["name"]) == Some(name));
    let not_referenced = |what: String, secret: &str| {
        format!(
            "{what} referencing secret.secretName=\"{secret}\" is not allowed because service account {account_name} \
             does not reference that secret"
        )
    };
    let in_containers = |list: &str, title: &str| {
        pod.array_at(&["spec", list]).iter().find_map(|container| {
            let name = container.str_at(&["name"]).unwrap_or("");
            let (variable, secret) =
                environment_secrets(container).into_iter().find(|(_, secret)| !listed("secrets", secret))?;
            let place = match variable {
                Some(variable) => format!("{title} {name} with envVar {variable}"),
                None => format!("{title} {name} with envFrom"),
            };
            Some(not_referenced(place, secret))
        })
    };
    if only_ephemeral {
        return in_containers("ephemeralContainers", "ephemeral container");
    }
    let volumes = pod.array_at(&["spec", "volumes"]).iter().filter_map(|v| v.str_at(&["secret", "secretName"]));
    if let Some(secret) = volumes.into_iter().find(|secret| !listed("secrets", secret)) {
        return Some(format!(
            "volume with secret.secretName=\"{secret}\" is not allowed because service account {account_name} does not \
             reference that secret"
        ));
    }
    in_containers("initContainers", "init container").or_else(|| in_containers("containers", "container")).or_else(|| {
        let pull = pod.array_at(&["spec", "imagePullSecrets"]).iter().map(|s| s.str_at(&["name"]).unwrap_or(""));
        let (index, name) = pull.enumerate().find(|(_, name)| !listed("imagePullSecrets", name))?;
        Some(format!(
            "imagePullSecrets[{index}].name=\"{name}\" is not allowed because service account {account_name} does not \
             reference that imagePullSecret"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Fixture};
    use super::*;

    fn fixture() -> (Fixture, ServiceAccount) {
        let fixture = Fixture::new();
        let account = |name: &str, mut rest: Value| {
            rest.set_at(&["metadata", "name"], name);
            rest.set_at(&["metadata", "namespace"], "demo");
            fixture.put("", "serviceaccounts", rest);
        };
        account("default", value!({"imagePullSecrets": [{"name": "registry"}]}));
        account("quiet", value!({"automountServiceAccountToken": false}));
        let mut strict = value!({"secrets": [{"name": "mine"}]});
        strict.set_at(&["metadata", "annotations", ENFORCE_MOUNTABLE_SECRETS], "true");
        account("strict", strict);
        let plugin = ServiceAccount::new(fixture.objects());
        (fixture, plugin)
    }

    fn pod(spec: Value) -> Case {
        Case::create("", "pods", "demo", value!({"metadata": {"name": "p"}, "spec": spec}))
    }

    #[tokio::test]
    async fn tokens_are_mounted_where_clients_look() {
        let (_fixture, plugin) = fixture();
        let spec = value!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}],
            "volumes": [{"name": "own", "emptyDir": {}}]
        });
        let pod = pod(spec).admit(&plugin).await.expect("admitted");
        let text = |path: &[&str]| pod.str_at(path).unwrap_or("");
        assert_eq!((text(&["spec", "serviceAccountName"]), text(&["spec", "serviceAccount"])), ("default", "default"));
        assert_eq!(pod.at(&["spec", "imagePullSecrets"]), Some(&value!([{"name": "registry"}])));
        let volume = &pod.array_at(&["spec", "volumes"])[1];
        let name = volume.str_at(&["name"]).expect("a name");
        assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
        assert_eq!(volume.get("projected"), Some(&token_volume()));
        let mount = value!([{"name": name, "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(pod.array_at(&["spec", "initContainers"])[0].get("volumeMounts"), Some(&mount));
        assert_eq!(pod.array_at(&["spec", "containers"])[0].get("volumeMounts"), Some(&mount));
        assert_eq!(pod.array_at(&["spec", "containers"])[1].array_at(&["volumeMounts"]).len(), 1);
    }

    #[tokio::test]
    async fn pods_and_accounts_may_go_without() {
        let (_fixture, plugin) = fixture();
        for (spec, mounted) in [
            (value!({"serviceAccountName": "quiet", "containers": [{"name": "a"}]}), false),
            (
                value!({"serviceAccountName": "quiet", "automountServiceAccountToken": true, "containers": [{"name": "a"}]}),
                true,
            ),
            (value!({"automountServiceAccountToken": false, "containers": [{"name": "a"}]}), false),
            (value!({"serviceAccount": "quiet", "containers": [{"name": "a"}]}), false),
        ] {
            let pod = pod(spec).admit(&plugin).await.expect("admitted");
            assert_eq!(!pod.array_at(&["spec", "volumes"]).is_empty(), mounted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_must_exist() {
        let (fixture, plugin) = fixture();
        let refused =
            "pods \"p\" is forbidden: error looking up service account demo/none: serviceaccount \"none\" not found";
        let none = pod(value!({"serviceAccountName": "none"})).admit(&plugin).await;
        assert_eq!(none, Err((403, refused.into())));
        // The default account of a new namespace is on its way.
        fixture.reader.remove("", "serviceaccounts", "demo", "default");
        let (admitted, ()) = tokio::join!(pod(value!({})).admit(&plugin), async {
            tokio::time::sleep(DEFAULT_ACCOUNT_INTERVAL * 3).await;
            fixture.put("", "serviceaccounts", value!({"metadata": {"name": "default", "namespace": "demo"}}));
        });
        assert!(admitted.is_ok());
        fixture.reader.remove("", "serviceaccounts", "demo", "default");
        assert!(pod(value!({})).admit(&plugin).await.is_err());
    }

    #[tokio::test]
    async fn mirror_pods_stay_as_they_are() {
        let (_fixture, plugin) = fixture();
        let mirror = |spec: Value| {
            let mut pod = value!({"metadata": {"name": "p"}, "spec": spec});
            pod.set_at(&["metadata", "annotations", super::super::MIRROR_POD_ANNOTATION], "x");
            pod
        };
        let plain = mirror(value!({"containers": [{"name": "a"}]}));
        assert_eq!(Case::create("", "pods", "demo", plain.clone()).admit(&plugin).await, Ok(plain));
        for (spec, text) in [
            (value!({"serviceAccountName": "default"}), "a mirror pod may not reference service accounts"),
            (value!({"volumes": [{"secret": {"secretName": "s"}}]}), "a mirror pod may not reference secrets"),
            (
                value!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
                "a mirror pod may not use ServiceAccountToken volume projections",
            ),
        ] {
            let refused = Case::create("", "pods", "demo", mirror(spec)).admit(&plugin).await;
            assert_eq!(refused, Err((403, format!("pods \"p\" is forbidden: {text}"))));
        }
    }

    #[tokio::test]
    async fn strict_accounts_list_their_secrets() {
        let (_fixture, plugin) = fixture();
        let cases = [
            (value!({"volumes": [{"name": "v", "secret": {"secretName": "mine"}}]}), None),
            (
                value!({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]}),
                Some(
                    "volume with secret.secretName=\"other\" is not allowed because service account strict does not reference that secret",
                ),
            ),
            (
                value!({"containers": [{"name": "a", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "other"}}}]}]}),
                Some(
                    "container a with envVar X referencing secret.secretName=\"other\" is not allowed because service account strict does not reference that secret",
                ),
            ),
            (
                value!({"imagePullSecrets": [{"name": "other"}]}),
                Some(
                    "imagePullSecrets[0].name=\"other\" is not allowed because service account strict does not reference that imagePullSecret",
                ),
            ),
        ];
        for (mut spec, refused) in cases {
            spec.set_at(&["serviceAccountName"], "strict");
            let result = pod(spec).admit(&plugin).await.map(|_| ());
            let expected = refused.map_or(Ok(()), |text| Err((403, format!("pods \"p\" is forbidden: {text}"))));
            assert_eq!(result, expected);
        }
    }
}
