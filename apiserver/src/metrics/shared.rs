//! What is counted far away from any server: admission plugins and expressions.
//!
//! One for the whole process, as all of upstream's are. Names follow `k8s.io/apiserver/pkg/admission/metrics` and
//! `k8s.io/apiserver/pkg/cel/metrics`.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use skiff_cel::program::Step;

use crate::admission::Operation;

/// Upper bounds in seconds of admission, as upstream's.
const ADMISSION_BUCKETS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// Upper bounds in seconds of webhooks, as upstream's.
const WEBHOOK_BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Upper bounds in seconds of expressions: those that Prometheus has by default.
const CEL_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Whether a plugin may change the object or only refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It may change the object.
    Admit,
    /// It may refuse it.
    Validate,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PluginLabels {
    name: String,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabels {
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

struct Shared {
    plugins: Histograms<PluginLabels>,
    steps: Histograms<StepLabels>,
    webhooks: Histograms<PluginLabels>,
    compilation: Histogram,
    evaluation: Histogram,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let admission = (|| Histogram::new(ADMISSION_BUCKETS)) as fn() -> Histogram;
    let webhook = (|| Histogram::new(WEBHOOK_BUCKETS)) as fn() -> Histogram;
    skiff_cel::program::observe_with(|step, took| match step {
        Step::Compilation => SHARED.compilation.observe(took.as_secs_f64()),
        Step::Evaluation => SHARED.evaluation.observe(took.as_secs_f64()),
    });
    Shared {
        plugins: Family::new_with_constructor(admission),
        steps: Family::new_with_constructor(admission),
        webhooks: Family::new_with_constructor(webhook),
        compilation: Histogram::new(CEL_BUCKETS),
        evaluation: Histogram::new(CEL_BUCKETS),
    }
});

pub(super) fn register(registry: &mut Registry) {
    let shared = &*SHARED;
    registry.register(
        "apiserver_admission_controller_admission_duration_seconds",
        "[STABLE] Seconds that a plugin took",
        Family::clone(&shared.plugins),
    );
    registry.register(
        "apiserver_admission_step_admission_duration_seconds",
        "[STABLE] Seconds that all plugins took together",
        Family::clone(&shared.steps),
    );
    registry.register(
        "apiserver_admission_webhook_admission_duration_seconds",
        "[STABLE] Seconds that a webhook took",
        Family::clone(&shared.webhooks),
    );
    let (compilation, evaluation) = (shared.compilation.clone(), shared.evaluation.clone());
    let help = "[BETA] Seconds that the compilation of an expression took";
    registry.register("apiserver_cel_compilation_duration_seconds", help, compilation);
    let help = "[BETA] Seconds that the evaluation of an expression took";
    registry.register("apiserver_cel_evaluation_duration_seconds", help, evaluation);
    // What upstream counts there is whether two ways to validate agree; here is one.
    for (name, help) in [
        ("mismatch", "[BETA] Validations in two ways that did not agree"),
        ("panic", "[BETA] Validations that panicked"),
    ] {
        let name = format!("apiserver_validation_declarative_validation_{name}");
        registry.register(name, help, Counter::<u64>::default());
    }
}

/// Counts what a plugin did.
pub fn plugin(name: &str, operation: Operation, phase: Phase, rejected: bool, took: Duration) {
    let (operation, rejected, r#type) = labels(operation, rejected, phase);
    let labels = PluginLabels { name: name.to_owned(), operation, rejected, r#type };
    SHARED.plugins.get_or_create(&labels).observe(took.as_secs_f64());
}

/// Counts what all plugins did.
pub fn step(operation: Operation, phase: Phase, rejected: bool, took: Duration) {
    let (operation, rejected, r#type) = labels(operation, rejected, phase);
    SHARED.steps.get_or_create(&StepLabels { operation, rejected, r#type }).observe(took.as_secs_f64());
}

/// Counts what a webhook answered.
pub fn webhook(name: &str, operation: Operation, phase: Phase, rejected: bool, took: Duration) {
    let (operation, rejected, r#type) = labels(operation, rejected, phase);
    let labels = PluginLabels { name: name.to_owned(), operation, rejected, r#type };
    SHARED.webhooks.get_or_create(&labels).observe(took.as_secs_f64());
}

fn labels(operation: Operation, rejected: bool, phase: Phase) -> (&'static str, &'static str, &'static str) {
    let operation = match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    };
    let phase = match phase {
        Phase::Admit => "admit",
        Phase::Validate => "validate",
    };
    (operation, if rejected { "true" } else { "false" }, phase)
}
