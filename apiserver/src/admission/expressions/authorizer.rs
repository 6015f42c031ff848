//! The variable `authorizer`: asks the authorizers of the API server, which answer from memory.

use std::rc::Rc;
use std::sync::Arc;

use skiff_cel::authz::{Decision, Question};

use super::Context;
use crate::authentication::UserInfo;
use crate::authorization::{self, Attributes};

struct Asker<'a> {
    user: &'a Arc<UserInfo>,
    authorizer: &'a dyn authorization::Authorizer,
}

/// Asks for the one who made a request.
pub(super) fn of<'a>(context: &Context<'a>) -> Rc<dyn skiff_cel::authz::Authorizer + 'a> {
    Rc::new(Asker { user: context.user, authorizer: context.authorizer })
}

/// The question about the resource of a request.
pub(super) fn resource_of(context: &Context<'_>) -> Question {
    Question {
        group: context.resource.0.to_owned(),
        resource: context.resource.2.to_owned(),
        subresource: context.subresource.to_owned(),
        namespace: context.namespace.to_owned(),
        name: context.name.to_owned(),
        ..Question::default()
    }
}

impl skiff_cel::authz::Authorizer for Asker<'_> {
    fn decide(&self, question: &Question) -> Decision {
        let user = match &question.service_account {
            Some((namespace, name)) => Arc::new(service_account(namespace, name)),
            None => self.user.clone(),
        };
        let decided = self.authorizer.authorize(&Attributes {
            user,
            verb: question.verb.clone(),
            is_resource_request: question.path.is_empty(),
            api_group: question.group.clone(),
            api_version: "*".to_owned(),
            resource: question.resource.clone(),
            subresource: question.subresource.clone(),
            namespace: question.namespace.clone(),
            name: question.name.clone(),
            path: question.path.clone(),
            ..Attributes::default()
        });
        let (allowed, reason) = match decided {
            authorization::Decision::Allow(reason) => (true, reason),
            authorization::Decision::Deny(reason) | authorization::Decision::NoOpinion(reason) => (false, reason),
        };
        Decision { allowed, reason, error: None }
    }
}

fn service_account(namespace: &str, name: &str) -> UserInfo {
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ..UserInfo::default()
    }
}
