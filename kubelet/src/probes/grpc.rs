//! The gRPC health check (upstream: `pkg/probe/grpc`): `grpc.health.v1.Health/Check`, without TLS.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");

fn status_name(status: i32) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// Asks for the health of a service. The error says why it is not healthy.
pub(crate) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let no_answer = || format!("timeout: failed to connect service {address:?} within {}s", limit.as_secs());
    let work = async {
        let channel = endpoint.connect().await.map_err(|_| no_answer())?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|_| no_answer())?;
        let mut request = Request::new(CheckRequest { service: service.to_owned() });
        request.metadata_mut().insert("user-agent", tonic::metadata::MetadataValue::from_static("kube-probe/1.36"));
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        match client.unary(request, PATH, codec).await {
            Ok(answer) => Ok(answer.into_inner().status),
            Err(status) => Err(match status.code() {
                Code::Unimplemented => {
                    format!(
                        "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                        status.message()
                    )
                }
                Code::DeadlineExceeded => {
                    format!("timeout: health rpc did not complete within {}s", limit.as_secs())
                }
                code => {
                    format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {}", status.message())
                }
            }),
        }
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => Err(format!("service unhealthy (responded with {:?})", status_name(status))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(no_answer()),
    }
}
