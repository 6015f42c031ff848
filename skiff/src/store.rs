//! Where a cluster keeps its state.

use std::sync::Arc;

use anyhow::{Context, bail};
use skiff_storage::{Storage, embedded, etcd};

use crate::layout::Layout;
use crate::{Settings, endpoint};

/// Opens the store of the settings. Fails if the cluster kept its state elsewhere when it last ran: it would come up
/// empty, with nothing lost and nobody told.
pub(crate) async fn open(settings: &Settings, layout: &Layout) -> anyhow::Result<Arc<dyn Storage>> {
    same_as_before(&endpoint::saved_settings(settings)?, settings)?;
    if settings.etcd_servers.is_empty() {
        let config = embedded::Config::new(layout.store());
        let storage = tokio::task::spawn_blocking(move || embedded::open(&config)).await??;
        return Ok(Arc::new(storage));
    }
    let mut config = etcd::Config::new(settings.etcd_servers.clone());
    if let Some(ca) = &settings.etcd_cafile {
        let identity = settings.etcd_certfile.clone().zip(settings.etcd_keyfile.clone());
        config.tls = Some(etcd::Tls { ca: ca.clone(), identity });
    }
    let storage = etcd::open(&config).await.context("cannot use etcd (--etcd-servers)")?;
    Ok(Arc::new(storage))
}

fn same_as_before(before: &Settings, now: &Settings) -> anyhow::Result<()> {
    let name = &now.name;
    match (before.etcd_servers.is_empty(), now.etcd_servers.is_empty()) {
        (false, true) => bail!(
            "cluster {name} keeps its state in etcd: start it with --etcd-servers {}, or begin anew in the embedded \
             store after `skiff down --delete-data`",
            before.etcd_servers.join(",")
        ),
        (true, false) => bail!(
            "cluster {name} keeps its state in the embedded store: start it without --etcd-servers, or begin anew in \
             etcd after `skiff down --delete-data`"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_not_left_without_a_word() {
        let embedded = Settings::named("a");
        let etcd = Settings { etcd_servers: vec!["http://192.0.2.1:2379".to_owned()], ..Settings::named("a") };
        let moved = Settings { etcd_servers: vec!["http://192.0.2.2:2379".to_owned()], ..Settings::named("a") };
        assert!(same_as_before(&embedded, &embedded).is_ok());
        assert!(same_as_before(&etcd, &moved).is_ok(), "members come and go");
        let error = same_as_before(&etcd, &embedded).expect_err("another store").to_string();
        assert!(error.contains("--etcd-servers http://192.0.2.1:2379"), "{error}");
        assert!(same_as_before(&embedded, &etcd).is_err());
    }
}
