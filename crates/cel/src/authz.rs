//! Asking whether somebody may do something: `authorizer` (`apiserver/pkg/cel/library/authz.go`).

use std::fmt;
use std::rc::Rc;

use crate::eval::Outcome;
use crate::value::Val;

/// Decides for the one who made the request, or for a service account.
pub trait Authorizer {
    /// The decision.
    fn decide(&self, question: &Question) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// Namespace and name of the service account that is asked about instead of who made the request.
    pub service_account: Option<(String, String)>,
    /// Verb, or method of a path.
    pub verb: String,
    /// Path; empty where a resource is asked about.
    pub path: String,
    /// API group.
    pub group: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Field selector.
    pub field_selector: String,
    /// Label selector.
    pub label_selector: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// A question on its way.
#[derive(Clone)]
pub struct Authz<'a> {
    authorizer: Rc<dyn Authorizer + 'a>,
    step: Box<Step>,
}

#[derive(Clone)]
enum Step {
    /// Who decides.
    Authorizer(Question),
    /// A path.
    Path(Question),
    /// A group.
    Group(Question),
    /// A resource.
    Resource(Question),
    /// The answer.
    Decided(Decision),
}

impl fmt::Debug for Authz<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl<'a> Authz<'a> {
    /// Who is asked.
    pub fn new(authorizer: Rc<dyn Authorizer + 'a>) -> Self {
        Self { authorizer, step: Box::new(Step::Authorizer(Question::default())) }
    }

    /// A question about one resource.
    pub fn about(authorizer: Rc<dyn Authorizer + 'a>, resource: Question) -> Self {
        Self { authorizer, step: Box::new(Step::Resource(resource)) }
    }

    /// Name of the type.
    pub fn type_name(&self) -> &'static str {
        match *self.step {
            Step::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Step::Path(_) => "kubernetes.authorization.PathCheck",
            Step::Group(_) => "kubernetes.authorization.GroupCheck",
            Step::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Step::Decided(_) => "kubernetes.authorization.Decision",
        }
    }

    fn with(&self, step: Step) -> Val<'a> {
        Val::Authz(Authz { authorizer: self.authorizer.clone(), step: Box::new(step) })
    }

    fn decide(&self, question: Question) -> Val<'a> {
        self.with(Step::Decided(self.authorizer.decide(&question)))
    }
}

/// Calls a function; `None` if it is none of these.
pub fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let (Val::Authz(authz), rest) = arguments.split_first()? else { return None };
    let texts = rest.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
    let mut texts = texts.into_iter();
    let first = texts.next().unwrap_or_default();
    Some(Ok(match (&*authz.step, name) {
        (Step::Authorizer(_), "path") if first.is_empty() => {
            return Some(Err("path must not be empty".to_owned()));
        }
        (Step::Authorizer(asked), "path") => authz.with(Step::Path(Question { path: first, ..asked.clone() })),
        (Step::Authorizer(asked), "group") => authz.with(Step::Group(Question { group: first, ..asked.clone() })),
        (Step::Authorizer(asked), "serviceAccount") => {
            let (namespace, name) = (first, texts.next().unwrap_or_default());
            let wrong = |what: &str, problems: Vec<String>| format!("Invalid service account {what}: {problems:?}");
            let (bad_name, bad_namespace) = (
                skiff_apimachinery::names::dns1123_subdomain(&name),
                skiff_apimachinery::names::dns1123_label(&namespace),
            );
            if !bad_name.is_empty() {
                return Some(Err(wrong("name", bad_name)));
            }
            if !bad_namespace.is_empty() {
                return Some(Err(wrong("namespace", bad_namespace)));
            }
            let asked = Question { service_account: Some((namespace, name)), ..asked.clone() };
            authz.with(Step::Authorizer(asked))
        }
        (Step::Group(asked), "resource") => authz.with(Step::Resource(Question { resource: first, ..asked.clone() })),
        (Step::Resource(asked), field @ ("subresource" | "namespace" | "name" | "fieldSelector" | "labelSelector")) => {
            let mut asked = asked.clone();
            *match field {
                "subresource" => &mut asked.subresource,
                "namespace" => &mut asked.namespace,
                "name" => &mut asked.name,
                "fieldSelector" => &mut asked.field_selector,
                _ => &mut asked.label_selector,
            } = first;
            authz.with(Step::Resource(asked))
        }
        (Step::Path(asked) | Step::Resource(asked), "check") => authz.decide(Question { verb: first, ..asked.clone() }),
        (Step::Decided(decision), "allowed") => Val::Bool(decision.allowed),
        (Step::Decided(decision), "errored") => Val::Bool(decision.error.is_some()),
        (Step::Decided(decision), "error") => Val::text(decision.error.clone().unwrap_or_default()),
        (Step::Decided(decision), "reason") => Val::text(decision.reason.clone()),
        _ => return None,
    }))
}
