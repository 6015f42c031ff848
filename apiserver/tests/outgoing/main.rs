//! What the API server asks of others: admission webhooks, conversion webhooks, aggregated API servers.

mod admission;
mod aggregation;
mod conversion;
mod server;
