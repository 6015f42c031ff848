//! Links, addresses and routes over rtnetlink, in the network namespace of the thread that opens the connection.

use std::future::Future;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::{Error, Result};

/// A connection to the kernel's routing socket.
#[derive(Clone)]
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Opens a connection served by a task of the current runtime.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(Error::file("open", "netlink route socket"))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    async fn find(&self, name: &str) -> Result<Option<LinkMessage>> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(link) => Ok(link),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(Error::netlink(format!("look up link {name}"))(error)),
        }
    }

    /// Index of a link.
    pub async fn index(&self, name: &str) -> Result<u32> {
        let link = self.find(name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))?;
        Ok(link.header.index)
    }

    /// Makes a veth pair; `alias` marks the first end as ours.
    pub async fn add_veth(&self, name: &str, peer: &str, mtu: u32, alias: &str) -> Result<()> {
        let pair = LinkVeth::new(name, peer).mtu(mtu).build();
        self.handle.link().add(pair).execute().await.map_err(Error::netlink(format!("create veth {name}")))?;
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).alias(alias).build();
        self.handle.link().set(message).execute().await.map_err(Error::netlink(format!("mark link {name}")))
    }

    /// Moves a link into the namespace behind `namespace`.
    pub async fn move_to(&self, name: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd()).build();
        self.handle.link().set(message).execute().await.map_err(Error::netlink(format!("move link {name}")))
    }

    /// Renames a link (which must be down).
    pub async fn rename(&self, name: &str, to: &str) -> Result<()> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).name(to).build();
        self.handle.link().set(message).execute().await.map_err(Error::netlink(format!("rename link {name} to {to}")))
    }

    /// Sets a link up.
    pub async fn set_up(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.map_err(Error::netlink(format!("set link {name} up")))
    }

    /// Deletes a link; absent is fine.
    pub async fn delete(&self, name: &str) -> Result<()> {
        match self.find(name).await? {
            Some(link) => self.delete_index(link.header.index).await,
            None => Ok(()),
        }
    }

    async fn delete_index(&self, index: u32) -> Result<()> {
        match self.handle.link().del(index).execute().await {
            // The peer's namespace may go at the same moment and take the link with it.
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(()),
            other => other.map_err(Error::netlink(format!("delete link {index}"))),
        }
    }

    /// Names and aliases of the links whose alias begins with `prefix`.
    pub async fn with_alias(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let mut links = self.handle.link().get().execute();
        let mut found = Vec::new();
        while let Some(link) = links.try_next().await.map_err(Error::netlink("list links"))? {
            let (mut name, mut alias) = (None, None);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::IfAlias(text) => alias = Some(text),
                    _ => {}
                }
            }
            if let (Some(name), Some(alias)) = (name, alias)
                && alias.starts_with(prefix)
            {
                found.push((name, alias));
            }
        }
        Ok(found)
    }

    /// Gives a link an address.
    pub async fn add_address(&self, name: &str, address: Ipv4Addr, prefix_length: u8) -> Result<()> {
        let index = self.index(name).await?;
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix_length).build();
        let mut request = self.handle.address().add(index, address.into(), prefix_length).replace();
        *request.message_mut() = message;
        request.execute().await.map_err(Error::netlink(format!("add address {address}/{prefix_length} to {name}")))
    }

    /// Routes `destination/prefix_length` out of a link: directly, or through a gateway on it.
    pub async fn add_route(
        &self,
        name: &str,
        destination: Ipv4Addr,
        prefix_length: u8,
        gateway: Option<Ipv4Addr>,
    ) -> Result<()> {
        let index = self.index(name).await?;
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination, prefix_length)
            .output_interface(index);
        route = match gateway {
            Some(gateway) => route.gateway(gateway).onlink(),
            None => route.scope(RouteScope::Link),
        };
        self.handle
            .route()
            .add(route.build())
            .replace()
            .execute()
            .await
            .map_err(Error::netlink(format!("route {destination}/{prefix_length} by {name}")))
    }

    /// Routes a range out of a link without a gateway, from the address that the node uses towards the world: a source
    /// of link scope would be a loopback address on `lo`.
    pub async fn add_range(&self, name: &str, range: Ipv4Net) -> Result<()> {
        let route = self.range_route(name, range).await?.scope(RouteScope::Universe);
        let added = self.handle.route().add(route.build()).replace().execute().await;
        added.map_err(Error::netlink(format!("route {range} by {name}")))
    }

    /// Removes such a route; absent is fine.
    pub async fn delete_range(&self, name: &str, range: Ipv4Net) -> Result<()> {
        let route = self.range_route(name, range).await?.scope(RouteScope::NoWhere);
        match self.handle.route().del(route.build()).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ESRCH => Ok(()),
            other => other.map_err(Error::netlink(format!("remove route {range} by {name}"))),
        }
    }

    async fn range_route(&self, name: &str, range: Ipv4Net) -> Result<RouteMessageBuilder<Ipv4Addr>> {
        let index = self.index(name).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
        Ok(route.destination_prefix(range.network(), range.prefix_len()))
    }
}

/// Runs async link work to its end on the calling thread, which is in the namespace meant.
pub fn blocking<T, F: Future<Output = Result<T>>>(work: impl FnOnce(Links) -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("start", "network runtime"))?;
    runtime.block_on(async { work(Links::open()?).await })
}
