//! Clients of the API server in the same process: the same chain as over the network, without the network.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use kube::Client;
use skiff_apiserver::authentication::{AUTHENTICATED, InProcessIdentity, UserInfo};
use skiff_apiserver::pki::Identity;
use skiff_apiserver::server::Service;

/// A client that speaks as `identity`.
pub fn client(service: Service, identity: &Identity) -> Client {
    let groups = identity.group().into_iter().map(str::to_owned);
    as_user(service, identity.user(), groups.collect())
}

/// A client that speaks as a ServiceAccount.
pub fn service_account(service: Service, namespace: &str, name: &str) -> Client {
    let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    as_user(service, format!("system:serviceaccount:{namespace}:{name}"), groups)
}

fn as_user(service: Service, name: String, mut groups: Vec<String>) -> Client {
    groups.push(AUTHENTICATED.to_owned());
    let user = UserInfo { name, groups, ..UserInfo::default() };
    Client::new(InProcess { service, identity: InProcessIdentity(Arc::new(user)) }, "default")
}

/// Puts the identity on every request.
#[derive(Clone)]
struct InProcess {
    service: Service,
    identity: InProcessIdentity,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.identity.clone());
        tower::Service::call(&mut self.service, request)
    }
}
