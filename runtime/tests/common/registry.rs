//! A registry as small as can be: manifests and blobs from memory, over plain HTTP, with basic authentication.

#![allow(missing_docs, unreachable_pub, reason = "shared by test files only")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_netlink::netns;
use tokio::net::TcpListener;

use super::image::Image;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Default)]
struct Content {
    /// By path.
    files: BTreeMap<String, (Bytes, &'static str, String)>,
    credentials: Option<String>,
    blobs_served: usize,
}

pub struct Registry {
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
}

impl Registry {
    /// Listens on loopback of a network namespace.
    pub fn start(namespace: &Path) -> Self {
        let listener = netns::run_in(namespace, || std::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("enter the namespace").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let (address, content) = (listener.local_addr().expect("address"), Arc::new(Mutex::new(Content::default())));
        let shared = Arc::clone(&content);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let content = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let response = respond(&mut content.lock().expect("lock"), &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self { address, content }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Offers an image. Manifests are served under their tag and digest.
    pub fn add(&mut self, repository: &str, tag: &str, image: &Image) {
        let mut content = self.content.lock().expect("lock");
        for (digest, bytes) in &image.blobs {
            let file = (Bytes::from(bytes.clone()), "application/octet-stream", digest.clone());
            content.files.insert(format!("/v2/{repository}/blobs/{digest}"), file);
        }
        for name in [tag, &image.manifest] {
            let bytes = Bytes::from(image.blobs[&image.manifest].clone());
            let file = (bytes, MANIFEST, image.manifest.clone());
            content.files.insert(format!("/v2/{repository}/manifests/{name}"), file);
        }
    }

    /// How many blobs were asked for.
    pub fn blobs_served(&self) -> usize {
        self.content.lock().expect("lock").blobs_served
    }

    /// Asks for credentials from now on.
    pub fn require(&mut self, user: &str, password: &str) {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.content.lock().expect("lock").credentials = Some(format!("Basic {encoded}"));
    }
}

fn respond(content: &mut Content, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let response = Response::builder();
    if content.credentials.is_some() && content.credentials.as_deref() != given {
        let response = response.status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=\"test\"");
        return response.body(Full::from("{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}")).expect("response");
    }
    if request.uri().path().contains("/blobs/") {
        content.blobs_served += 1;
    }
    match content.files.get(request.uri().path()) {
        Some((bytes, kind, digest)) => {
            let response = response.header("content-type", *kind).header("docker-content-digest", digest);
            response.body(Full::new(bytes.clone())).expect("response")
        }
        None if request.uri().path() == "/v2/" => response.body(Full::default()).expect("response"),
        None => {
            let body = "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}";
            response.status(StatusCode::NOT_FOUND).body(Full::from(body)).expect("response")
        }
    }
}
