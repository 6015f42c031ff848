//! MutatingWebhookConfigurations and ValidatingWebhookConfigurations, as far as calling their webhooks needs them.

use std::time::Duration;

use skiff_apimachinery::meta;
use skiff_apimachinery::value::{Object, Value};

use crate::admission::expressions::MatchConditions;
use crate::admission::matching::Rule;
use crate::webhook::ClientConfig;

/// How long a webhook that says nothing may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A configuration.
#[derive(Debug)]
pub struct Configuration {
    /// Its webhooks in order.
    pub webhooks: Vec<Webhook>,
}

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    /// Name of the configuration that it is in.
    pub configuration: String,
    /// Fully qualified name.
    pub name: String,
    /// Unique among all webhooks of its kind.
    pub uid: String,
    /// Whom to call; `None` for a configuration that names nobody.
    pub client: Option<ClientConfig>,
    /// What it is asked about.
    pub rules: Vec<Rule>,
    /// Whether requests for other versions of what the rules name count as well.
    pub equivalent: bool,
    /// Selector of namespaces.
    pub namespace_selector: Value,
    /// Selector of objects.
    pub object_selector: Value,
    /// Whether it may be asked about what is not stored; `None` when it does not say.
    pub dry_run: Option<bool>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether a request goes on when the call fails.
    pub fails_open: bool,
    /// Versions of AdmissionReview that it takes, best first.
    pub review_versions: Vec<String>,
    /// Whether it is to be asked again when others change the object.
    pub reinvoked: bool,
    /// What must be true of a request besides.
    pub conditions: MatchConditions,
}

impl Configuration {
    /// Of a stored object.
    pub fn parse(object: &Value) -> Option<Self> {
        let configuration = meta::name(object);
        let webhooks = object.array_at(&["webhooks"]).iter().enumerate();
        Some(Self {
            webhooks: webhooks.map(|(index, webhook)| Webhook::parse(webhook, configuration, index)).collect(),
        })
    }
}

impl Webhook {
    fn parse(webhook: &Value, configuration: &str, index: usize) -> Self {
        let text = |field: &str| webhook.str_at(&[field]).unwrap_or("");
        let selector = |field: &str| webhook.get(field).cloned().unwrap_or_else(|| Object::new().into());
        let name = text("name").to_owned();
        let seconds = webhook.i64_at(&["timeoutSeconds"]).and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            configuration: configuration.to_owned(),
            uid: format!("{configuration}/{name}/{index}"),
            name,
            client: webhook.get("clientConfig").and_then(ClientConfig::parse),
            rules: webhook.array_at(&["rules"]).iter().map(Rule::parse).collect(),
            equivalent: text("matchPolicy") != "Exact",
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
            dry_run: match text("sideEffects") {
                "" => None,
                effects => Some(matches!(effects, "None" | "NoneOnDryRun")),
            },
            timeout: seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
            fails_open: text("failurePolicy") == "Ignore",
            review_versions: webhook
                .array_at(&["admissionReviewVersions"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            conditions: MatchConditions::compile(webhook.array_at(&["matchConditions"])),
        }
    }
}
